"""DVC's own resolver, turned into plain rows: templating, vars, foreach and matrix included."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
from dvc.dependency.param import ParamsDependency
from dvc.exceptions import DvcException
from dvc.ignore import DvcIgnoreFilter
from dvc.stage import PipelineStage
from dvc.utils.serialize import parse_yaml

from housing.errors import GraphError
from housing.pipeline import manifest
from housing.pipeline.faults import explain
from housing.pipeline.locks import locked, open_repo

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage

    from housing.pipeline.manifest import Row


class _Walked(DvcIgnoreFilter):
    """DVC's filter of ignored files, which notes the folders that DVC really looks into."""

    def __init__(self, repo: Repo) -> None:
        super().__init__(repo.fs, repo.root_dir)
        self.folders: list[str] = []

    def walk(self, fs: Any, path: str, **kwargs: Any) -> Iterator[Any]:  # noqa: ANN401 - DVC's own signature
        for found in super().walk(fs, path, **kwargs):
            self.folders.append(os.path.relpath(found[0], self.root_dir))
            yield found


def build(root: Path, give_up: Callable[[], None]) -> tuple[list[Row], list[str]]:
    """Resolves all stages, and keeps them in the manifest.

    Args:
        root: DVC's root folder, absolute.
        give_up: See ``housing.pipeline.graph.load``.

    Returns:
        One row a stage, in topological order; and every file that shapes them.

    Raises:
        GraphError: See ``housing.pipeline.graph.load``.
    """
    if not (root / ".dvc").is_dir():
        raise GraphError(f"{root} is no DVC repository", "set HOUSING_ROOT, or: dvc init")
    began = manifest.settled()
    # DVC resolves vars and names relative to the working directory.
    with contextlib.chdir(root), _named_faults(), open_repo(root, give_up) as repo, locked(repo):
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
        sources = _sources(repo, stages, walked.folders)
    # What changed since then was perhaps read before it changed: the next look resolves again.
    if all(_older(root / name, began) for name in (*sources, *walked.folders)):
        manifest.write(root, rows, sources, walked.folders)
    return rows, sorted(sources)


@contextlib.contextmanager
def _named_faults() -> Iterator[None]:
    try:
        yield
    except DvcException as error:
        raise GraphError(explain(error), "correct dvc.yaml, then: dvc dag") from error


def _rows(repo: Repo) -> list[Row]:
    graph = repo.index.graph
    place = {stage: at for at, stage in enumerate(repo.index.stages)}
    order = nx.lexicographical_topological_sort(graph.reverse(), key=place.__getitem__)
    return [_row(repo, graph, stage) for stage in order if isinstance(stage, PipelineStage)]


def _row(repo: Repo, graph: nx.DiGraph, stage: PipelineStage) -> Row:
    cmd = stage.cmd if isinstance(stage.cmd, list) else stage.cmd.splitlines()
    return {
        "name": _name(stage),
        "cmd": cmd,
        "desc": stage.desc or "",
        "deps": [_path(repo, dep) for dep in stage.deps if not isinstance(dep, ParamsDependency)],
        "params": [key for dep in stage.params for key in _keys(repo, dep)],
        "outs": [_path(repo, out) for out in stage.outs],
        "upstream": sorted(_upstream(graph, stage)),
        "frozen": bool(stage.frozen),
        "always_changed": bool(stage.always_changed or stage.is_callback),
        "meta": stage.meta or {},
        "file": stage.path_in_repo,
    }


def _name(stage: PipelineStage) -> str:
    """The stage's address from the root, wherever the process stands."""
    named = stage.path_in_repo != "dvc.yaml"
    return f"{stage.path_in_repo}:{stage.name}" if named else str(stage.name)


def _upstream(graph: nx.DiGraph, stage: PipelineStage) -> set[str]:
    """The nearest stages upstream; ``.dvc`` files on the way are passed through."""
    found: set[str] = set()
    todo = list(graph.successors(stage))
    while todo:
        node = todo.pop()
        if isinstance(node, PipelineStage):
            found.add(_name(node))
        else:
            todo.extend(graph.successors(node))
    return found


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
    return sources | _git_rules(root)


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
            yield os.path.normpath(f"{folder}/{item.partition(':')[0]}")


def _git_rules(root: Path) -> set[str]:
    """Git's ignore rules above the root, and its private ones: DVC skips what git ignores."""
    for folder in (root, *root.parents):
        if (folder / ".git").exists():
            between = [path for path in (root, *root.parents) if path.is_relative_to(folder)]
            rules = [path / ".gitignore" for path in between]
            return {_shown(root, path) for path in (*rules, folder / ".git/info/exclude")}
    return set()


def _older(path: Path, moment: int) -> bool:
    return not path.exists() or path.stat().st_ctime_ns < moment
