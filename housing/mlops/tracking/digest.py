"""The digest of a logged model: all its files, hashed when logged and compared before each use.

The hashes stand in the model itself, in a file that ``sha256sum -c`` reads too. The SHA-256 of that
file is the digest, a tag of the run and of the version: it stands for all files and their names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from housing.errors import EvidenceError

BUNDLE = "housing.bundle"
"""Tag of a logged model, of its run and of its version: the digest."""
MANIFEST = "SHA256SUMS"
"""File of the model with a line ``HASH  PATH`` for each other file of it."""


def seal(bundle: Path) -> str:
    """Writes the hashes of all files into the model's folder.

    Args:
        bundle: Folder of the model, otherwise complete.

    Returns:
        The digest, 64 hex digits.
    """
    lines = [f"{_sha256(bundle / path)}  {path}\n" for path in _files(bundle)]
    (bundle / MANIFEST).write_text("".join(lines), encoding="utf-8")
    return _sha256(bundle / MANIFEST)


def compare(bundle: Path, digest: str) -> tuple[dict[str, str], dict[str, str]]:
    """Hashes of a model's files as they are, and as they were when it was logged.

    Args:
        bundle: Folder of the model, as MLflow gave it.
        digest: The digest that it must have.

    Returns:
        Found and expected hash of each file, by path. A file that was added is expected to have
        the hash "". Of a changed list of hashes nothing is believed, so no other file is expected.
    """
    found = {path: _sha256(bundle / path) for path in _files(bundle)}
    expected = {MANIFEST: digest}
    if (bundle / MANIFEST).is_file():
        found[MANIFEST] = _sha256(bundle / MANIFEST)
    if found.get(MANIFEST) == digest:
        lines = (bundle / MANIFEST).read_text(encoding="utf-8").splitlines()
        expected |= {path: sha256 for sha256, path in (line.split("  ", 1) for line in lines)}
        expected |= {path: "" for path in found if path not in expected}
    return found, expected


def require(bundle: Path, digest: str, name: str) -> None:
    """Stops where a model is not the one that was logged; to be called before it is loaded.

    Args:
        bundle: Folder of the model, as MLflow gave it.
        digest: The digest that it must have.
        name: What to call the model.

    Raises:
        EvidenceError: A file was changed, added or removed; all of them are named.
    """
    faults = _faults(*compare(bundle, digest))
    if faults:
        raise EvidenceError(
            f"{name} in MLflow is not the model that was judged: {'; '.join(faults)}",
            "put the artifacts of MLflow back from a backup, or move the alias to another "
            "version: housing champion VERSION --why TEXT",
        )


def _faults(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    faults = []
    for path, sha256 in expected.items():
        if path not in found:
            faults.append(f"{path} is missing")
        elif not sha256:
            faults.append(f"{path} was added")
        elif found[path] != sha256:
            faults.append(f"{path} was changed")
    return faults


def _files(bundle: Path) -> list[str]:
    """Every file but the manifest; a link counts as a file, whatever it leads to."""
    files = [path for path in bundle.rglob("*") if path.is_symlink() or path.is_file()]
    names = (path.relative_to(bundle).as_posix() for path in files)
    return sorted(name for name in names if name != MANIFEST)


def _sha256(file: Path) -> str:
    if not file.is_file():
        return "no file"  # a link that leads nowhere, or to a folder
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
