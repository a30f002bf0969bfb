"""What the engine takes from DVC's inside, and the version of DVC in which that was looked at."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dvc.config
import dvc.data_cloud
import dvc.dvcfile
import dvc.ignore
import dvc.lock
import dvc.output
import dvc.repo
import dvc.repo.reproduce
import dvc.rwlock
import dvc.schema
import dvc.stage
import dvc.stage.cache
import dvc.stage.run
import dvc.utils.serialize._yaml
import dvc_data.hashfile.db
import dvc_data.hashfile.transfer
import dvc_objects.fs.utils
import pytest

ROOT = Path(__file__).parents[1]
WRITTEN_FOR = "3.67"
GUIDE = "CONTRIBUTING.md, 'A new DVC', lists what to look at"


def source(of: Any) -> str:  # noqa: ANN401 - a module, a class or a function
    return inspect.getsource(of)


def takes(function: Callable[..., Any], *names: str) -> bool:
    return set(names) <= set(inspect.signature(function).parameters)


# By module below housing/engine: what must be true of DVC.
TOUCH_POINTS: dict[str, dict[str, Callable[[], bool]]] = {
    "execution/locks.py": {
        "Repo(_wait_for_lock)": lambda: takes(dvc.repo.Repo.__init__, "_wait_for_lock"),
        "Repo.lock may be set": lambda: "self.lock = " in source(dvc.repo.Repo.__init__),
        "lock_repo": lambda: "repo.lock" in source(dvc.repo.lock_repo),
        "Lock._do_lock": lambda: "_do_lock" in source(dvc.lock.Lock),
        "HardlinkLock waits by _sleep": lambda: hasattr(dvc.lock.HardlinkLock, "_sleep"),
        "HardlinkLock._claimfile": lambda: "_claimfile" in source(dvc.lock.HardlinkLock),
    },
    "execution/compiled_schema.py": {
        "a stage is one of two forms": lambda: (
            "either_or(STAGE_DEFINITION, FOREACH_IN, [FOREACH_KWD, DO_KWD])" in source(dvc.schema)
        ),
        "a file is read by its SCHEMA": lambda: (
            "self.SCHEMA" in source(dvc.dvcfile.FileMixin._load_yaml)
        ),
    },
    "execution/parsed_files.py": {
        "a file is parsed by _load_yaml, into its content and text": lambda: (
            "return self._load_yaml(**kwargs)" in source(dvc.dvcfile.FileMixin._load)
            and "d, _ = self._load(" in source(dvc.dvcfile.FileMixin.load)
        ),
        "a params file is parsed by the module's parse_yaml": lambda: (
            "parser=parse_yaml" in source(dvc.utils.serialize._yaml.load_yaml)
            and takes(dvc.utils.serialize._yaml.parse_yaml, "text", "path", "typ")
        ),
        "its content hangs on its text alone": lambda: (
            "return strictyaml.load(" in source(dvc.dvcfile.FileMixin._load_yaml)
        ),
    },
    "execution/unchanged.py": {
        "a stage is its definition, its deps and its outs": lambda: (
            "self.changed_stage()\n            or self.changed_deps(allow_missing=allow_missing, "
            "upstream=upstream)\n            or self.changed_outs(allow_missing=allow_missing)\n"
            "        )" in source(dvc.stage.Stage.changed)
        ),
        "an out is its content, and its objects in the cache": lambda: (
            "self.changed_cache()" in source(dvc.output.Output.status)
            and "ocheck(self.cache, obj)" in source(dvc.output.Output.changed_cache)
        ),
    },
    "execution/stage_run.py": {
        "reproduce(repro_fn)": lambda: takes(dvc.repo.reproduce._reproduce, "repro_fn", "force"),
        "repro_fn(stage, upstream, force)": lambda: (
            "repro_fn(stage, upstream=upstream, force=force_stage"
            in source(dvc.repo.reproduce._reproduce)
        ),
    },
    "execution/lock_entries.py": {
        "dump(update_pipeline)": lambda: takes(dvc.dvcfile.ProjectFile.dump, "update_pipeline"),
        "an entry comes from to_lockfile, and its file is tracked": lambda: all(
            part in source(dvc.dvcfile.Lockfile.dump_stages)
            for part in ("to_lockfile(stage", "scm_context.track_file(")
        ),
    },
    "execution/inputs.py": {
        "Stage.save_deps": lambda: "self.save_deps(" in source(dvc.stage.Stage.save),
    },
    "execution/cache_proof.py": {
        "StageCache.restore": lambda: takes(dvc.stage.cache.StageCache.restore, "stage"),
        "HashFileDB.check": lambda: takes(dvc_data.hashfile.db.HashFileDB.check, "check_hash"),
    },
    "execution/pulling.py": {
        "_get_stage_hash": lambda: takes(dvc.stage.cache._get_stage_hash, "stage"),
        "_can_hash": lambda: takes(dvc.stage.cache._can_hash, "stage"),
        "StageCache._load and _create_stage": lambda: all(
            f"self.{name}(" in source(dvc.stage.cache.StageCache.restore)
            for name in ("_load", "_create_stage")
        ),
    },
    "execution/transfers.py": {
        "DataCloud.pull and push": lambda: all(
            takes(move, "objs", "odb")
            for move in (dvc.data_cloud.DataCloud.pull, dvc.data_cloud.DataCloud.push)
        ),
        "DataCloud.get_remote": lambda: (
            takes(dvc.data_cloud.DataCloud.get_remote, "name", "command")
            and "self.get_remote(" in source(dvc.data_cloud.DataCloud.get_remote_odb)
        ),
        "StageCache._get_cache_dir": lambda: takes(
            dvc.stage.cache.StageCache._get_cache_dir, "key"
        ),
        "a failed transfer goes to the log": lambda: (
            "exc_info=exc" in source(dvc_data.hashfile.transfer._log_exception)
        ),
        "Output.use_cache": lambda: "not self.use_cache" in source(dvc.output.Output.checkout),
    },
    "execution/project_copy.py": {
        "Config.edit(level)": lambda: takes(dvc.config.Config.edit, "level"),
        "a relative path is made absolute": lambda: (
            "RelPath(os.path.abspath(" in source(dvc.config.Config._resolve)
        ),
        "checkout(allow_missing)": lambda: takes(dvc.repo.Repo.checkout, "allow_missing"),
    },
    "execution/recovery.py": {
        "rwlock's read and write": lambda: all(
            f'"{key}"' in source(dvc.rwlock) for key in ("read", "write")
        ),
    },
    "execution/run_cache.py": {
        "_get_cache_hash(key)": lambda: takes(dvc.stage.cache._get_cache_hash, "cache", "key"),
        "the newest run counts": lambda: "newest_entry" in source(dvc.stage.cache.StageCache._load),
        "_get_cache_dir, _create_stage": lambda: (
            hasattr(dvc.stage.cache.StageCache, "_get_cache_dir")
            and takes(dvc.stage.cache.StageCache._create_stage, "cache", "wdir")
        ),
    },
    "execution/stage_process.py": {
        "$SHELL runs commands": lambda: 'os.getenv("SHELL")' in source(dvc.stage.run),
    },
    "execution/temporaries.py": {
        "tmp_fname asks token_urlsafe": lambda: (
            "token_urlsafe(" in source(dvc_objects.fs.utils.tmp_fname)
        ),
    },
    "graph/resolve.py": {
        "DvcIgnoreFilter.walk": lambda: takes(dvc.ignore.DvcIgnoreFilter.walk, "fs", "path"),
        "DvcIgnoreFilter.is_ignored_file": lambda: takes(
            dvc.ignore.DvcIgnoreFilter.is_ignored_file, "path", "ignore_subrepos"
        ),
        "Repo.stage_collection_error_handler": lambda: (
            "stage_collection_error_handler" in source(dvc.repo.Repo)
        ),
    },
}
CASES = [
    pytest.param(module, true, id=f"{Path(module).name}: {what}")
    for module, points in TOUCH_POINTS.items()
    for what, true in points.items()
]


def test_dvc_is_the_version_that_was_looked_at() -> None:
    installed = importlib.metadata.version("dvc")
    assert installed.startswith(f"{WRITTEN_FOR}."), (
        f"DVC {installed} is installed, and the engine was written for {WRITTEN_FOR}: {GUIDE}"
    )


@pytest.mark.parametrize(("module", "true"), CASES)
def test_what_the_engine_takes_from_inside_of_dvc_is_there(
    module: str, true: Callable[[], bool]
) -> None:
    assert true(), f"DVC changed below housing/engine/{module}: {GUIDE}"


def test_the_guide_names_every_touch_point() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## A new DVC")[2]
    for module in TOUCH_POINTS:
        assert f"`{module}`" in guide
        assert (ROOT / "housing/engine" / module).is_file()
