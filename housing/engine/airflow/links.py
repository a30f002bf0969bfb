"""Links from a task to where its work can be seen."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator, BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


STAGE_LINK = "dvc.yaml"
"""Name of the link to the stage in ``dvc.yaml``, at the revision that ran."""


class Linked:
    """Mixed into an operator that knows its links once it has run.

    Attributes:
        links: Address by name of the link.
    """

    links: Mapping[str, str] = MappingProxyType({})
    operator_extra_links: Collection[BaseOperatorLink]

    def show(self, links: Mapping[str, str]) -> None:
        """Sets the links that this run has; each of the others would cost a request.

        Args:
            links: Address by name of the link; "" for none.
        """
        self.links = {name: address for name, address in links.items() if address}
        self.operator_extra_links = tuple(
            link for link in self.operator_extra_links if link.name in self.links
        )


class TaskLink(BaseOperatorLink):
    """A button of the task in Airflow's UI, for the address that a `Linked` operator sets.

    Args:
        name: Name of the link, which the button shows.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        """What the button shows."""
        return self._name

    @property
    def xcom_key(self) -> str:
        """The XCom of the address: Airflow's own key would be the same for all links."""
        return f"_link_{self._name}"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002  # Airflow's signature
        """The address, or nothing where this run of the task has none."""
        return operator.links.get(self.name, "") if isinstance(operator, Linked) else ""


def web_address(remote: str) -> str | None:
    """The https form of a git remote, or None where it is no host on the web.

    Args:
        remote: ``git@host:owner/name.git``, ``ssh://git@host/owner/name.git``, or
            ``https://user@host/owner/name.git``. A user or password is left out.
    """
    found = re.fullmatch(
        r"(?:(?:https?|ssh|git)://(?:[^@/]*@)?(?P<host>[^/:@]+)(?::\d+)?/"
        r"|(?:[^@/:]+@)?(?P<scp>[^/:@]+\.[^/:@]+):)(?P<path>[^\s]+?)(?:\.git)?/?",
        remote.strip(),
    )
    return f"https://{found['host'] or found['scp']}/{found['path']}" if found else None


@dataclass(frozen=True)
class GitPlace:
    """A folder of a git repository that has a remote on the web.

    Attributes:
        web: Address of the repository, ``https://host/owner/name``.
        revision: The commit that is checked out.
        folder: The folder, relative to the root of the repository.
    """

    web: str
    revision: str
    folder: Path


def git_place(root: Path) -> GitPlace | None:
    """The place of a folder in git, or None where git knows no remote on the web.

    Args:
        root: The folder.
    """
    from dulwich.errors import NotGitRepository  # DVC's own; it is too heavy for a DAG file
    from dulwich.repo import Repo

    top = _version_of_a_bundle(root.resolve())
    try:
        with Repo(str(top.parents[1] / "bare")) if top else Repo.discover(str(root)) as repo:
            remote = repo.get_config().get((b"remote", b"origin"), b"url").decode()
            revision = top.name if top else repo.head().decode()
            folder = root.resolve().relative_to(top or Path(repo.path).resolve())
    except (NotGitRepository, KeyError):
        return None
    web = web_address(remote)
    return GitPlace(web, revision, folder) if web else None


def _version_of_a_bundle(root: Path) -> Path | None:
    """The folder in which Airflow's git bundle laid out one commit, where the root is inside it.

    That folder has the commit's name and no git of its own: the bundle keeps it in ``bare``, two
    folders up.
    """
    for folder in (root, *root.parents):
        if folder.parent.name == "versions" and (folder.parents[1] / "bare").is_dir():
            return folder
    return None


def stage_address(root: Path, file: str) -> str:
    """Where ``dvc.yaml`` can be read at the current revision, or "" where git knows no remote.

    Args:
        root: The project's folder.
        file: The ``dvc.yaml``, relative to the root.
    """
    place = git_place(root)
    return f"{place.web}/blob/{place.revision}/{place.folder / file}" if place else ""
