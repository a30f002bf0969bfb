"""The task at the end of a good run that brings its ``dvc.lock`` back to git."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context, TriggerRule

from housing.engine.airflow import other_workers
from housing.engine.airflow.error_handling import explained
from housing.engine.airflow.fast_skip import skipped
from housing.engine.airflow.run_options import RunOptions
from housing.engine.airflow.workspace import Workspace
from housing.engine.errors import OptionsError


class WriteBackOperator(BaseOperator):
    """Commits what the stages of a run with isolated workspaces left for ``dvc.lock``.

    The commit goes on top of the branch that the DAG bundle follows, without force; the next run
    starts from it. Where no task comes after it, it also removes the run's workspace on its own
    host. A run with overrides writes nothing back.

    Args:
        root: DVC's root folder in the DAG bundle.
        stages: The stages by the ids of their tasks.
        branch: The branch to write to, by default the one that the bundle follows. Where it does
            not exist it is made from that one.
        repo_url: The git repository, by default that of the bundle.
    """

    ui_color = "#e4e4f4"

    def __init__(
        self,
        *,
        root: str,
        stages: Mapping[str, str],
        branch: str = "",
        repo_url: str = "",
        **kwargs: Any,  # noqa: ANN401  # BaseOperator's own arguments
    ) -> None:
        kwargs.setdefault("trigger_rule", TriggerRule.NONE_FAILED)  # an unchanged stage is skipped
        super().__init__(**kwargs)
        self.root = root
        self.stages = dict(stages)
        self.branch = branch
        self.repo_url = repo_url

    def execute(self, context: Context) -> dict[str, Any]:
        """Writes the entries back.

        Returns:
            The commit ("" where nothing was new), the branch, and the entries that it took.

        Raises:
            AirflowSkipException: The run has overrides.
            WriteBackError: git cannot be asked, or refuses.
        """
        ti, options = context["ti"], RunOptions.of(context["params"])
        place = Workspace.of(
            Path(self.root), (ti.dag_id, ti.run_id), options.overrides, isolated=True
        )
        done = {}
        if not options.overrides:
            with explained(context):
                done = self._write(ti)
        if not self.downstream_task_ids:
            place.remove()
        if options.overrides:
            raise skipped("a run with overrides writes nothing back")
        return done

    def _write(self, ti: Any) -> dict[str, Any]:  # noqa: ANN401  # Airflow's
        from housing.engine.execution import git_branch  # DVC is too heavy for a DAG file

        bundle = getattr(ti, "bundle_instance", None)
        entries = other_workers.all_entries(ti, Path(self.root), self.stages)
        follows = str(getattr(bundle, "tracking_ref", ""))
        url, name = self.repo_url or getattr(bundle, "repo_url", ""), self.branch or follows
        if not url or not name:
            raise OptionsError(
                "the DAG comes from no git bundle, so nobody knows where dvc.lock belongs",
                "give repo_url and branch to WriteBackOperator, or: write_back=False",
            )
        hook = getattr(bundle, "hook", None)
        with hook.configure_hook_env() if hook else nullcontext():
            branch = git_branch.Branch(
                url, name, follows or name, self._folder(bundle), dict(getattr(hook, "env", {}))
            )
            revision = getattr(bundle, "version", None) or "unknown"
            message = f"Record {ti.dag_id} {ti.run_id}\n\nThe run began at revision {revision}.\n"
            done = git_branch.write(branch, Path(self.root), entries, message)
        said = f"{done.commit}: {', '.join(done.taken)}" if done.commit else "nothing is new"
        self.log.info("branch %s of %s: %s", name, url, said)
        return {"commit": done.commit, "branch": name, "stages": list(done.taken)}

    def _folder(self, bundle: Any) -> str:  # noqa: ANN401  # Airflow's
        """DVC's root folder in the repository."""
        top = getattr(bundle, "repo_path", None)
        root = Path(self.root).resolve()
        if top is None or not root.is_relative_to(Path(top).resolve()):
            return ""
        return str(root.relative_to(Path(top).resolve()))
