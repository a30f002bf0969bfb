"""The result of the pipeline that stands in the workspace, known by the hashes in ``dvc.lock``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from housing.engine.execution.lockfile import LockEntry, read
from housing.errors import EvidenceError

DATA = "data/interim/houses.parquet"
TRANSFORM = "data/features/transform.json"
REPORT = "reports/evaluation_report.json"
PREDICTIONS = "reports/predictions.parquet"
SEEN = ("data/features/train.parquet", "data/features/validation.parquet")
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """What one pass of the pipeline made.

    Attributes:
        root: DVC's root folder.
        candidate: The candidate that evaluation chose.
        hashes: DVC's hash of each evidence file, by path: data, transform, the chosen model, the
            evaluation report and the predictions.
        fingerprint: Identity of the result: 16 hex digits over the hashes.
    """

    root: Path
    candidate: str
    hashes: dict[str, str]
    fingerprint: str

    @property
    def model(self) -> str:
        """Path of the chosen model."""
        return model_path(self.candidate)


def model_path(candidate: str) -> str:
    """Path of a candidate's model, relative to the root."""
    return f"models/{candidate}.ubj"


def read_result(root: Path) -> Result:
    """Reads which result stands in ``dvc.lock``.

    Args:
        root: DVC's root folder.

    Raises:
        EvidenceError: A stage has not run, or an output in the workspace is missing.
    """
    candidate = chosen(root)
    makers = _makers(read(root))
    paths = (DATA, TRANSFORM, model_path(candidate), REPORT, PREDICTIONS)
    missing = [path for path in paths if path not in makers]
    if missing:
        raise EvidenceError(f"dvc.lock has no hash of {', '.join(missing)}", "dvc repro")
    hashes = {path: _recorded(root, path, makers[path]) for path in paths}
    return Result(root, candidate, hashes, fingerprint(hashes))


def chosen(root: Path) -> str:
    """The candidate that evaluation chose, from the report in the workspace.

    Raises:
        EvidenceError: There is no such report.
    """
    try:
        report = json.loads((root / REPORT).read_text(encoding="utf-8"))
        return str(report["candidate"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvidenceError(
            f"{root / REPORT} names no candidate: {error!r}", "dvc checkout, then dvc repro"
        ) from error


def fingerprint(hashes: dict[str, str]) -> str:
    """Identity of a result: 16 hex digits over its evidence files.

    Args:
        hashes: DVC's hash of each file, by path.
    """
    lines = "".join(f"{path} {md5}\n" for path, md5 in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def file_md5(path: Path) -> str:
    """The hash that DVC would record for a file, read in constant memory."""
    digest = hashlib.md5(usedforsecurity=False)  # DVC's choice; it names content, no secret
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def differing(result: Result) -> list[str]:
    """Evidence files whose bytes in the workspace are not those in ``dvc.lock``.

    Returns:
        One phrase for each such file.
    """
    faults = []
    for path, md5 in result.hashes.items():
        file = result.root / path
        if not file.is_file():
            faults.append(f"{path} is missing")
        elif file_md5(file) != md5:
            faults.append(f"{path} is not what its stage wrote")
    return faults


def broken_links(root: Path, paths: Iterable[str]) -> list[str]:
    """Where the way back from some files to the data as delivered breaks off in ``dvc.lock``.

    It does where a stage ran on other inputs than the ones that stand there now. Only what those
    files were made from counts, for DVC keeps the entries of stages that ``dvc.yaml`` no longer
    has. A dep that is a folder is not followed.

    Args:
        root: DVC's root folder.
        paths: The files to start from; what no stage wrote is passed over.

    Returns:
        One phrase for each break.
    """
    entries = read(root)
    makers = _makers(entries)
    made = {path: _recorded(root, path, found) for path, found in makers.items()}
    faults: list[str] = []
    queue = [path for path in dict.fromkeys(paths) if path in made]
    seen = set(queue)
    for path in queue:
        fitting = [stage for stage, md5 in makers[path] if md5 == made[path]]
        # A stage that is gone may have written the same bytes: whichever ran on what is here now.
        stage = min(fitting, key=lambda name: len(_others(entries[name], made)))
        faults += [f"{stage} ran on another {dep}" for dep in _others(entries[stage], made)]
        further = [dep for dep in entries[stage].deps if dep in made and dep not in seen]
        seen.update(further)
        queue += further
    return list(dict.fromkeys(faults))


def _others(entry: LockEntry, made: Mapping[str, str]) -> list[str]:
    """Deps of a stage that are outs, and stand there with another hash now."""
    return [dep for dep, md5 in entry.deps.items() if made.get(dep, md5) != md5]


def _makers(entries: dict[str, LockEntry]) -> dict[str, list[tuple[str, str]]]:
    """The stages that wrote each path, the last in ``dvc.lock`` first, each with its hash."""
    makers: dict[str, list[tuple[str, str]]] = {}
    for stage, entry in reversed(entries.items()):
        for path, out in entry.outs.items():
            if out.md5:
                makers.setdefault(path, []).append((stage, out.md5))
    return makers


def _recorded(root: Path, path: str, makers: list[tuple[str, str]]) -> str:
    """The hash of an out; a renamed stage leaves a second one, so the workspace then decides."""
    hashes = [md5 for _, md5 in makers]
    if len(hashes) > 1 and (root / path).is_file():
        found = file_md5(root / path)
        if found in hashes:
            return found
    return hashes[0]


def data_time(root: Path) -> int:
    """When the data in the workspace was ingested, in milliseconds since 1970.

    DVC hands an output on with the time at which the stage wrote it, or at which the workspace
    got it from the cache.
    """
    return (root / DATA).stat().st_mtime_ns // 1_000_000


def git_revision(root: Path) -> str:
    """The commit that is checked out, with ``+`` where tracked files differ, or "" without one.

    It needs no ``git``, which the stack's image has not.

    Args:
        root: DVC's root folder, in the repository.
    """
    import pygit2

    # dvc.lock changes with each run: it is the result, not the code that made it.
    lock = (root / "dvc.lock").resolve()
    place = pygit2.discover_repository(str(root))
    if place is None:
        return ""
    try:
        repository = pygit2.Repository(place)
        head = str(repository.head.target)
        changed = repository.status(untracked_files="no", ignored=False)
    except pygit2.GitError:  # there is no commit yet, or it belongs to somebody else
        return ""
    top = Path(repository.workdir).resolve()
    return f"{head}+" if any(top / path != lock for path in changed) else head
