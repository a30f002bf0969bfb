"""``housing reproduce``: from a registered version to a folder with all that made it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from housing.cli.console import console_of
from housing.domain.config import load_registered
from housing.engine import graph
from housing.engine.errors import typeable
from housing.engine.execution import bring_back, lock_entries
from housing.engine.execution.git_command import git
from housing.engine.execution.stage_run import StageRun
from housing.errors import EvidenceError
from housing.mlops.registry.origin import LOCK, PARAMS, Origin, origin_of
from housing.settings import load_settings


def reproduce_version(version: str, folder: Path | None, *, retrain: bool, as_json: bool) -> int:
    """Makes a folder with code, params, data, features and model of a version, and proves it.

    Args:
        version: The version in the registry.
        folder: The folder to make, by default ``housing-VERSION`` here.
        retrain: Run every stage anew, too, and compare what it makes byte for byte.
        as_json: Print JSON.

    Returns:
        The exit code: 0 where all is what the version was made of and by, else 1.

    Raises:
        EvidenceError: The run of the version does not say how, or git does not have its commit.
        RegistryError: There is no such version.
        TrackingError: MLflow does not answer.
        EngineError: DVC's remote does not answer, or a stage failed.
    """
    settings = load_settings()
    known = origin_of(settings, load_registered(settings.root / PARAMS), version)
    root = (folder or Path(f"housing-{version}")).resolve()
    _check_out(settings.root, root, known)
    bring_back.use_cache_of(settings.root, root)
    absent = bring_back.lay_out(root)
    differing = bring_back.differing(root)
    other = _retrained(root, known) if retrain and not differing else []
    told = {
        "version": version,
        "run_id": known.run_id,
        "git_revision": known.git_revision,
        "folder": str(root),
        "absent": absent,
        "differing": [path for path in differing if path not in absent],
        "retrained": retrain and not differing,
        "other_bytes": other,
    }
    if as_json:
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        _show(told)
    return 1 if differing or other else 0


def _check_out(project: Path, root: Path, known: Origin) -> None:
    """Clones the project at the commit of the version, with the version's params and lock."""
    if root.exists() and any(root.iterdir()):
        raise EvidenceError(f"{root} is not empty", "housing reproduce VERSION --into FOLDER")
    commit = known.git_revision.removesuffix("+")
    has = git(project, "cat-file", "-e", f"{commit}^{{commit}}")
    if has.returncode:
        raise EvidenceError(
            f"version {known.version} was made at commit {commit}, which {project} does not have",
            "git fetch --all",
        )
    for place, arguments in (
        (project, ("clone", "--quiet", "--no-checkout", str(project), str(root))),
        (root, ("checkout", "--quiet", "--detach", commit)),
    ):
        done = git(place, *arguments)
        if done.returncode:
            raise EvidenceError(f"git {arguments[0]}: {done.stderr.strip()}", "git status")
    (root / PARAMS).write_text(known.params, encoding="utf-8")
    (root / LOCK).write_text(known.lock, encoding="utf-8")


def _retrained(root: Path, known: Origin) -> list[str]:
    """Runs every stage that writes something; returns the outs whose bytes are others now."""
    before = {
        out["path"]: out.get("md5")
        for entry in lock_entries.parse(known.lock, LOCK).values()
        for out in entry.get("outs", ())
    }
    env = {"PYTHONPATH": str(root), "HOUSING_ROOT": str(root)}
    made = [
        out
        for node in graph.load(root).stages
        if node.outs
        for out in StageRun(root, node.name, force=True, env=env).reproduce().outs
    ]
    return sorted(out.path for out in made if before.get(out.path) != out.md5)


def _show(told: dict[str, object]) -> None:
    def say(line: str) -> None:
        console_of().print(line, markup=False, soft_wrap=True)

    say(f"version {told['version']}: code of {told['git_revision']}, in {told['folder']}")
    for key, what in (
        ("absent", "neither in DVC's cache nor in its remote"),
        ("differing", "not what made the version"),
        ("other_bytes", "made anew, with other bytes"),
    ):
        paths = told[key]
        if isinstance(paths, list) and paths:
            say(f"{what}: {', '.join(paths)}")
    if not told["absent"] and not told["differing"]:
        say("code, params, data, features and model are those that made it, by their hashes")
    if told["retrained"] and not told["other_bytes"]:
        say("every stage ran anew, and each out has the same bytes")
    elif not told["retrained"]:
        again = typeable("PYTHONPATH=. dvc repro --force")
        say(f"next, to train it anew: cd {told['folder']} && {again}")
