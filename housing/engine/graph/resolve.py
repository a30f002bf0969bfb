"""DVC's own resolver, turned into plain rows: templating, vars, foreach and matrix included."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
from dulwich.config import get_xdg_config_home_path
from dulwich.ignore import default_user_ignore_filter_path
from dvc.dependency.param import ParamsDependency
from dvc.dvcfile import LOCK_FILE
from dvc.exceptions import DvcException
from dvc.ignore import DvcIgnoreFilter
from dvc.stage import PipelineStage
from dvc.utils.serialize import parse_yaml
from scmrepo.noscm import NoSCM

from housing.engine.errors import GraphError
from housing.engine.execution.dvc_errors import explain
from housing.engine.execution.locks import locked, open_repo
from housing.engine.graph import manifest

if TYPE_CHECKING:
    from dulwich.repo import Repo as GitRepo
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage

    from housing.engine.graph.manifest import Row


class _Walked(DvcIgnoreFilter):
    """DVC's filter of ignored files, which notes the folders that DVC looks into.

    It hides every ``dvc.lock``: the graph does not depend on what ran, so neither a merge conflict
    in that file nor somebody who is just writing it may stop a parse.
    """

    def __init__(self, repo: Repo) -> None:
        super().__init__(repo.fs, repo.root_dir)
        self.folders: dict[str, None] = {".": None}

    def walk(self, fs: Any, path: str, **kwargs: Any) -> Iterator[Any]:  # noqa: ANN401 - DVC's own signature
        for found in super().walk(fs, path, **kwargs):
            yield found
            # DVC has taken out what it ignores; what may not be read is in there.
            folder = os.path.relpath(found[0], self.root_dir)
            self.folders.update(dict.fromkeys(os.path.normpath(f"{folder}/{n}") for n in found[1]))

    def is_ignored_file(self, path: str, ignore_subrepos: bool = True) -> bool:
        hidden: bool = super().is_ignored_file(path, ignore_subrepos)
        return hidden or os.path.basename(path) == LOCK_FILE  # noqa: PTH119 - DVC's paths are strings


def build(root: Path, give_up: Callable[[], None] | None) -> tuple[list[Row], list[str]]:
    """Resolves all stages, and keeps them in the manifest.

    DVC's lock is held meanwhile: it rewrites ``dvc.yaml`` and ``.dvc`` files in place, and a file
    whose writer was killed is brought back first.

    Args:
        root: DVC's root folder, absolute.
        give_up: Asked again and again while somebody else holds DVC's lock; it raises to end the
            waiting. None reads without the lock, and keeps nothing: a file may be half written.

    Returns:
        One row a stage, in topological order; and every file that shapes them.

    Raises:
        GraphError: See ``housing.engine.graph.load``.
    """
    if not (root / ".dvc").is_dir():
        raise GraphError(f"{root} is no DVC repository", "set HOUSING_ROOT, or: dvc init")
    began = manifest.settled()
    with (
        contextlib.chdir(root),  # DVC resolves vars and names relative to it
        _named_faults(),
        open_repo(root, give_up or (lambda: None)) as repo,
        locked(repo) if give_up else contextlib.nullcontext(),
    ):
        walked = _Walked(repo)
        repo.dvcignore = walked
        faults: list[str] = []
        repo.stage_collection_error_handler = lambda file, error: faults.append(
            f"{file}: {explain(error)}"
        )
        stages = repo.index.stages
        if faults:
            raise GraphError("\n".join(faults), "correct the file, then: dvc dag")
        rows = json.loads(json.dumps(_rows(repo), default=str))
        sources = _sources(repo, stages, list(walked.folders))
    # What changed since then was perhaps read before it changed: the next look resolves again.
    if give_up and all(_older(root / name, began) for name in (*sources, *walked.folders)):
        manifest.write(root, rows, sources, walked.folders)
    return rows, sorted(sources)


@contextlib.contextmanager
def _named_faults() -> Iterator[None]:
    try:
        yield
    except DvcException as error:
        raise GraphError(explain(error), "correct dvc.yaml, then: dvc dag") from error
    except ImportError as error:  # DVC's, of a dep or an out in a storage that needs a package
        package = re.search(r"requires '([\w-]+)'", str(error))
        if not package:
            raise
        raise GraphError(
            f"a dep or an out is in remote storage: {error} on {socket.gethostname()}",
            f"pip install {package[1]}",
        ) from error


def _rows(repo: Repo) -> list[Row]:
    graph = repo.index.graph
    place = {stage: at for at, stage in enumerate(repo.index.stages)}
    order = nx.lexicographical_topological_sort(graph.reverse(), key=place.__getitem__)
    return [_row(repo, graph, stage) for stage in order if _has_task(stage)]


def _has_task(stage: Stage) -> bool:
    """Whether something can make it run: ``dvc add`` and frozen imports only hold data."""
    return isinstance(stage, PipelineStage) or bool(stage.deps and not stage.frozen)


def _row(repo: Repo, graph: nx.DiGraph, stage: Stage) -> Row:
    upstream, data_sources = _upstream(graph, stage)
    return {
        "name": name_of(stage),
        "cmd": stage.cmd if isinstance(stage.cmd, list) else (stage.cmd or "").splitlines(),
        "desc": stage.desc or "",
        "deps": [_path(repo, dep) for dep in stage.deps if not isinstance(dep, ParamsDependency)],
        "params": [key for dep in stage.params for key in _keys(repo, dep)],
        "outs": [_path(repo, out) for out in stage.outs],
        "unpushed": [_path(repo, out) for out in stage.outs if not out.can_push],
        "upstream": sorted(upstream),
        "data_sources": [] if stage.frozen else sorted(data_sources),
        "frozen": bool(stage.frozen),
        "always_changed": bool(stage.always_changed or stage.is_callback),
        "meta": stage.meta or {},
        "file": stage.path_in_repo,
    }


def name_of(stage: Stage) -> str:
    """The stage's address from the root, wherever the process stands."""
    if not isinstance(stage, PipelineStage):
        return str(stage.path_in_repo)
    named = stage.path_in_repo != "dvc.yaml"
    return f"{stage.path_in_repo}:{stage.name}" if named else str(stage.name)


def _upstream(graph: nx.DiGraph, stage: Stage) -> tuple[set[str], set[str]]:
    """The nearest stages upstream, and the ``.dvc`` files without a task on the way to them."""
    upstream: set[str] = set()
    data_sources: set[str] = set()
    todo = list(graph.successors(stage))
    while todo:
        node = todo.pop()
        if _has_task(node):
            upstream.add(name_of(node))
        else:
            data_sources.add(name_of(node))
            todo.extend(graph.successors(node))
    return upstream, data_sources


def _path(repo: Repo, item: Output) -> str:
    if item.protocol != "local":
        return str(item.def_path)
    return _shown(Path(repo.root_dir), item.fs_path)


def _shown(root: Path, path: str | Path) -> str:
    """Relative to the root where it is below it, else absolute."""
    return str(Path(path).relative_to(root) if Path(path).is_relative_to(root) else path)


def _keys(repo: Repo, dep: ParamsDependency) -> list[str]:
    file = _path(repo, dep)
    return [f"{file}:{key}" for key in dep.params] or [file]


def _sources(repo: Repo, stages: list[Stage], folders: list[str]) -> set[str]:
    """Every file that shapes the graph, relative to the root where it is below it."""
    root = Path(repo.root_dir)
    sources: set[str] = set()
    for folder in folders:
        with os.scandir(root / folder) as entries:
            sources.update(
                os.path.normpath(f"{folder}/{entry.name}")
                for entry in entries
                if manifest.shapes(entry.name) and entry.is_file()
            )
    for file in [name for name in sources if Path(name).name == "dvc.yaml"]:
        sources.update(_vars_files(root, file, stages))
    sources.update(_shown(root, path) for path in repo.config.files.values())
    return sources | _git_rules(repo)


def _vars_files(root: Path, file: str, stages: list[Stage]) -> Iterator[str]:
    """The params and vars files of one ``dvc.yaml``; default ``params.yaml`` counts if absent."""
    content = parse_yaml((root / file).read_text(encoding="utf-8"), file)  # type: ignore[no-untyped-call]  # DVC's
    folder = Path(file).parent
    yield os.path.normpath(folder / "params.yaml")
    yield from _files(content.get("vars"), str(folder))
    definitions = content.get("stages") or {}
    for stage in stages:
        if not isinstance(stage, PipelineStage) or stage.path_in_repo != file:
            continue
        group = str(stage.name).rsplit("@", 1)[0]
        definition = definitions.get(stage.name) or definitions[group]
        own = definition.get("do", definition).get("vars")
        yield from _files(own, os.path.relpath(stage.wdir, root))


def _files(section: list[Any] | None, folder: str) -> Iterator[str]:
    for item in section or []:
        if isinstance(item, str):
            yield os.path.normpath(Path(folder, item.partition(":")[0]))


def _git_rules(repo: Repo) -> set[str]:
    """Git's ignore rules outside the walked folders: DVC skips what git ignores."""
    if isinstance(repo.scm, NoSCM):
        return set()
    root, folder = Path(repo.root_dir), Path(repo.scm.root_dir)
    between = [path for path in (root, *root.parents) if path.is_relative_to(folder)]
    rules = [path / ".gitignore" for path in between]
    private = _private_rules(folder, repo.scm.dulwich.repo)
    return {_shown(root, path) for path in (*rules, *private)}


def _private_rules(folder: Path, git: GitRepo) -> Iterator[Path]:
    """The rules that git keeps for one clone and for one user, and the files that name them.

    Args:
        folder: The work tree's folder.
        git: Its repository; that of a submodule or of a further work tree lies elsewhere.
    """
    control, common = (Path(place).resolve() for place in (git.controldir(), git.commondir()))
    yield from (control / "info/exclude", common / "config", control / "config.worktree")
    yield from map(Path, _user_settings())
    user = default_user_ignore_filter_path(git.get_config_stack())
    yield folder / Path(user).expanduser()
    if (folder / ".git").is_file():
        yield folder / ".git"  # names the control folder


def _user_settings() -> list[str]:
    """The configuration files of git for the user and for the machine."""
    files = [
        os.environ.get("GIT_CONFIG_GLOBAL", "~/.gitconfig"),
        get_xdg_config_home_path("git", "config"),
        os.environ.get("GIT_CONFIG_SYSTEM", "/etc/gitconfig"),
    ]
    return [os.path.expanduser(file) for file in files]  # noqa: PTH111 - Path fails without a home


def _older(path: Path, moment: int) -> bool:
    return not path.exists() or path.stat().st_ctime_ns < moment
