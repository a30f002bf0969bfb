"""Challenger against champion, for a person's decision: their metrics, and the same houses priced.

Not among the package's names: it needs the numerical libraries, which take longer to import than a
run takes that has nothing to do.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from housing.domain import gate
from housing.domain.columns import Frozen
from housing.domain.config import Params, Registered
from housing.domain.verdict import Check
from housing.engine.errors import typeable
from housing.errors import RegistryError
from housing.mlops.registry.client import get_version
from housing.mlops.registry.gate_evaluation import compared, contest_of
from housing.mlops.registry.proof import run_behind
from housing.mlops.registry.queries import Version, aliases
from housing.mlops.registry.run_artifacts import Record, download
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.digest import require
from housing.settings import Settings


class SideBySide(Frozen):
    """Challenger against champion, as a person sees them before deciding.

    Attributes:
        challenger: The version in the staging alias.
        champion: The version in the champion alias, or None.
        checks: The gain on common held-out rows, and the slices.
    """

    challenger: Version
    champion: Version | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed, also those that the gate made of the challenger."""
        verdict = self.challenger.verdict
        return all(check.passed for check in self.checks) and (verdict is None or verdict.passed)


def side_by_side(settings: Settings, params: Params | Registered) -> SideBySide:
    """Compares the version in staging with the champion, for a person to decide.

    Without all of the params, which may have faults while a person has to decide, the metrics stand
    side by side, and a check says that nothing was compared row by row.

    Args:
        settings: Where MLflow is.
        params: The limits and the names in the registry.

    Raises:
        EvidenceError: One of them is not what was judged: a file of its model differs.
        RegistryError: Nothing is in staging.
        RunNotFoundError: The run of one of them was deleted.
        TrackingUnavailableError: MLflow does not answer.
    """
    names = params.registry
    held = aliases(settings, params)
    if names.staging not in held:
        raise RegistryError(f"{names.staging} points to no version of {names.model}", "housing run")
    challenger, champion = held[names.staging], held.get(names.champion)
    if champion is None:
        with connected(settings) as client:  # nobody is asked about a version that cannot be taken
            run_behind(client, get_version(client, names.model, challenger.version))
        return SideBySide(challenger=challenger, champion=None, checks=())
    if not isinstance(params, Params):
        look = typeable("housing doctor")
        fault = f"not compared on the same rows: params.yaml has faults, see: {look}"
        missing = gate.fact("common_rows", fault, "")
        return SideBySide(challenger=challenger, champion=champion, checks=(missing,))
    with connected(settings) as client, tempfile.TemporaryDirectory(prefix="housing-") as folder:
        records: list[Record] = []
        for version in (challenger, champion):
            place = Path(folder) / str(len(records))
            place.mkdir()
            run = run_behind(client, get_version(client, names.model, version.version))
            record = download(run, place)
            if record.digest is not None:
                require(record.bundle, record.digest, f"version {version.version} of {names.model}")
            records.append(record)
        mine, rival = records
        checks = (
            gate.newer(mine.data_time, rival.data_time),
            *compared(params, mine, rival, contest_of(mine, rival)),
        )
    return SideBySide(challenger=challenger, champion=champion, checks=checks)
