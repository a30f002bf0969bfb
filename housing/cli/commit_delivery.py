"""A delivery where workers share no folder: a commit on the branch that Airflow follows."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from housing.domain.config import Params
from housing.domain.data.deliver import Delivery, deliver
from housing.engine.errors import EngineError
from housing.engine.execution import bring_back
from housing.engine.execution.git_command import git, is_behind
from housing.errors import DataError
from housing.mlops.tracking.result import file_md5

TRIES = 5
"""How often the commit is made anew because somebody else pushed meanwhile."""


@dataclass(frozen=True)
class _Branch:
    """The branch that a clone follows.

    Attributes:
        url: Of its repository.
        name: Its name there.
        folder: DVC's root folder in the repository, "" for its top.
        author: Name and address of whoever delivers, as variables of git.
    """

    url: str
    name: str
    folder: str
    author: Mapping[str, str]


def commit_delivery(file: Path, root: Path, params: Params) -> tuple[Delivery, str]:
    """Checks a file, and brings it into DVC's remote and, as a ``.dvc`` file, onto the branch.

    It works in a clone of its own, so that nothing that is open here gets into the commit. The
    content is in the remote before the commit is. Where the branch moved, the commit is made anew
    on top of it.

    Args:
        file: A CSV or Parquet file.
        root: The project's folder, a clone whose branch follows the one of Airflow's bundle.
        params: See `housing.domain.data.deliver.deliver`.

    Returns:
        What became of the file, and the commit; "" where the branch has it already.

    Raises:
        DataError: See there; or a delivery of this name is on the branch.
        EngineError: git or DVC fails, or the clone follows no branch.
    """
    branch = _followed(root)
    with TemporaryDirectory(prefix="housing-") as folder:
        for number in range(TRIES):
            clone = Path(folder) / str(number)
            _git(root, "clone", "--quiet", "--branch", branch.name, branch.url, str(clone))
            try:
                return _commit(file, root, clone, branch, params)
            except EngineError as error:
                if number + 1 == TRIES or not is_behind(error.fact):
                    raise
    raise AssertionError  # the last try returns or raises


def _commit(
    file: Path, project: Path, clone: Path, branch: _Branch, params: Params
) -> tuple[Delivery, str]:
    root = clone / branch.folder
    place = project / params.data.landing / file.name
    pointer = root / params.data.landing / f"{file.name}.dvc"
    known = pointer.exists() and file.is_file()
    if known and file_md5(file) not in pointer.read_text(encoding="utf-8"):
        raise DataError(
            f"{place.name} is another delivery of the same name on the branch {branch.name}",
            "give the new file another name",
        )
    done = replace(deliver(file, root, params), path=place)
    if known or done.already_there:
        return replace(done, already_there=True), ""
    config = project / ".dvc/config.local"
    if config.exists():  # the credentials of the remote
        shutil.copyfile(config, root / ".dvc/config.local")
    bring_back.keep(root, pointer.with_suffix(""))
    _git(root, "add", "--", str(pointer), str(pointer.with_name(".gitignore")))
    _git(root, "commit", "--quiet", "--message", f"Deliver {file.name}", env=branch.author)
    _git(root, "push", "--quiet", branch.url, f"HEAD:refs/heads/{branch.name}")
    return done, _git(root, "rev-parse", "HEAD")


def _followed(root: Path) -> _Branch:
    """The branch that the project's clone follows."""
    local = _git(root, "branch", "--show-current")
    lines = _git(root, "config", "--list").splitlines()
    settings = {key: value for key, _, value in (line.partition("=") for line in lines)}
    remote, merged = (settings.get(f"branch.{local}.{key}", "") for key in ("remote", "merge"))
    if not merged:
        raise EngineError(
            f"the branch {local or 'of no name'} in {root} follows none: nobody knows where a "
            "delivery is to be committed",
            f"git push --set-upstream origin {local or 'BRANCH'}",
        )
    who = {
        f"GIT_{role}_{key.upper()}": settings[f"user.{key}"]
        for role in ("AUTHOR", "COMMITTER")
        for key in ("name", "email")
        if f"user.{key}" in settings
    }
    url = _git(root, "remote", "get-url", "--push", remote)
    folder = _git(root, "rev-parse", "--show-prefix")
    return _Branch(url, merged.removeprefix("refs/heads/"), folder, who)


def _git(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    done = git(folder, *arguments, env=env)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise EngineError(f"git {arguments[0]} failed: {said}", "git fetch && git status")
    return done.stdout.strip()
