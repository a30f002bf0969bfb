"""What a stage's run may take from DVC's remote, and gives to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from housing.engine.execution.remote_login import RemoteLogin


@dataclass(frozen=True, slots=True)
class Sharing:
    """How one run of a stage uses DVC's default remote; by default not at all.

    Attributes:
        pull: Deps that the workspace lacks come from the remote, where the stage has to run. One
            that is unchanged by ``dvc.lock`` alone is left alone, and nothing is downloaded.
        push: What the stage made goes to the remote before its task ends.
        isolated: The workspace belongs to one run on one worker. What ``dvc.lock`` says of the
            stages upstream, which other workers ran, counts more than the files that lie there.
        login: Credentials of the remote; None where this machine has them itself.
        entries: What they left for ``dvc.lock``, see `housing.engine.execution.lock_entries.merge`.
    """

    pull: bool = False
    push: bool = False
    isolated: bool = False
    login: RemoteLogin | None = None
    entries: Mapping[tuple[str, str], str] = field(default_factory=dict)
