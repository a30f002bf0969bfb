"""What goes wrong with DVC's remote, told apart by what a retry would do."""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dvc.config import NoRemoteError
from dvc_objects.fs.errors import RemoteMissingDepsError

from housing.engine.errors import DiskFullError, EngineError, GraphError, RemoteError
from housing.engine.execution.dvc_errors import explain

if TYPE_CHECKING:
    from dvc.repo import Repo

_REFUSED = re.compile(
    r"credential|permission|access ?denied|forbidden|unauthori[sz]ed|invalidaccesskey|"
    r"signaturedoesnotmatch|authentication|\b40[13]\b",
    re.IGNORECASE,
)
_LOGIN = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "azure": "AZURE_STORAGE_CONNECTION_STRING",
}
"""Variables by which the library of a remote gets its credentials, by the scheme of its address."""


@dataclass(frozen=True)
class RemoteName:
    """DVC's default remote: its name, and its address."""

    name: str
    url: str

    @property
    def scheme(self) -> str:
        """The part of the address before ``://``; of a folder it is ``file``."""
        return self.url.partition("://")[0] if "://" in self.url else "file"


def host() -> str:
    """The name of this machine, or container."""
    return socket.gethostname()


def remote_of(repo: Repo) -> RemoteName:
    """DVC's default remote.

    Args:
        repo: DVC's repository.

    Raises:
        GraphError: It has none.
    """
    name = repo.config["core"].get("remote")
    if not name or name not in repo.config["remote"]:
        raise no_remote(repo.root_dir)
    return RemoteName(name, str(repo.config["remote"][name].get("url", "")))


def no_remote(root: str) -> GraphError:
    """The error for a repository without a default remote."""
    return GraphError(
        f"pull and push need a default remote of DVC, and {root} has none",
        "dvc remote add --default NAME URL",
    )


def told_apart(error: BaseException, repo: Repo, stage: str) -> EngineError:
    """The error of this package for one that came out of a transfer.

    Args:
        error: What DVC, or the library of the remote, raised.
        repo: DVC's repository.
        stage: The stage's name.
    """
    if isinstance(error, EngineError):
        return error
    if isinstance(error, NoRemoteError):
        return no_remote(repo.root_dir)
    remote = remote_of(repo)
    what = f"the remote {remote.name} ({remote.url})"
    if isinstance(error, (RemoteMissingDepsError, ImportError)):
        return GraphError(
            f"stage {stage}: {what} needs a package that {host()} lacks: {explain(error)}",
            f"pip install 'dvc[{remote.scheme}]'",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"stage {stage}: {explain(error)}", f"dvc gc --workspace, on {host()}")
    said = f"{type(error).__name__}: {explain(error)}"
    if isinstance(error, PermissionError) or _REFUSED.search(said):
        login = _LOGIN.get(remote.scheme)
        by = f"set {login} for its tasks, or: " if login else ""
        key = "access_key_id KEY" if remote.scheme == "s3" else "user NAME"
        return RemoteError(
            f"stage {stage}: {what} lets {host()} in by no credentials that it has: {said}",
            f"for every worker: an Airflow connection, by remote_conn_id in operator_args; "
            f"on {host()}: {by}dvc remote modify --global {remote.name} {key}",
            refused=True,
        )
    return RemoteError(f"stage {stage}: {what} gives {host()} no answer: {said}", "dvc remote list")
