"""The tasks by which a person decides who serves production."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context

from housing.domain.config import load_params
from housing.engine.airflow.error_handling import explained
from housing.engine.airflow.fast_skip import skipped
from housing.settings import load_settings

if TYPE_CHECKING:
    from housing.domain.config import Params
    from housing.settings import Settings


class CompareOperator(BaseOperator):
    """Puts challenger and champion side by side, as a person reads them before deciding.

    Args:
        root: The project's folder.
    """

    template_fields: Sequence[str] = ("root",)
    ui_color = "#fdf0c8"

    def __init__(self, *, root: str, **kwargs: Any) -> None:  # noqa: ANN401  # BaseOperator's own
        super().__init__(**kwargs)
        self.root = root

    def execute(self, context: Context) -> dict[str, str]:
        """Compares the version in staging with the champion.

        Returns:
            ``version`` and ``champion``, the two versions ("" for no champion), and ``title`` and
            ``body``, the comparison in Markdown.

        Raises:
            AirflowSkipException: The version in staging is the champion already.
            TrackingError: MLflow does not answer, or nothing is in staging.
        """
        from housing import messages
        from housing.mlops import registry  # mlflow is too heavy for a DAG file

        settings, params = _project(self.root)
        with explained(context):
            sides = registry.side_by_side(settings, params)
        challenger, champion = sides.challenger, sides.champion
        if champion and champion.version == challenger.version:
            raise skipped(f"version {challenger.version} is the champion already")
        message = messages.contest(
            params.registry.model,
            (challenger.version, challenger.metrics),
            (champion.version, champion.metrics) if champion else None,
            sides.checks,
        )
        self.log.info("%s", message.to_text())
        return {
            "version": challenger.version,
            "champion": champion.version if champion else "",
            "title": message.title,
            "body": message.to_markdown(),
        }


class SetChampionOperator(BaseOperator):
    """Makes the version that a person approved the champion, and writes who did it.

    Its asset event starts what follows the champion.

    Args:
        root: The project's folder.
        compare: Task id of the `CompareOperator`.
        approve: Task id of the approval.
    """

    template_fields: Sequence[str] = ("root",)
    ui_color = "#d9f2d0"

    def __init__(
        self,
        *,
        root: str,
        compare: str,
        approve: str,
        **kwargs: Any,  # noqa: ANN401  # BaseOperator's own arguments
    ) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.compare = compare
        self.approve = approve

    def execute(self, context: Context) -> dict[str, Any]:
        """Moves the alias.

        Returns:
            The move: version, alias, and the version that the alias had before.

        Raises:
            AirflowSkipException: Staging or champion changed since the person was asked, or the
                version is the champion already.
            TrackingError: MLflow does not answer, or cannot do it.
        """
        from housing.mlops import registry  # mlflow is too heavy for a DAG file

        settings, params = _project(self.root)
        asked = context["ti"].xcom_pull(task_ids=self.compare)
        answer = context["ti"].xcom_pull(task_ids=self.approve)
        with explained(context):
            held = registry.aliases(settings, params)
            names = params.registry
            now = [held[a].version if a in held else "" for a in (names.staging, names.champion)]
            # A try that was cut off may have moved the alias already: it is finished then.
            if asked["version"] != now[1] and [asked["version"], asked["champion"]] != now:
                raise skipped(f"aliases changed since the question: {now}")
            who = (answer["responded_by_user"] or {}).get("name") or "unknown"
            move = registry.set_champion(
                settings, params, asked["version"], who, "approved in Airflow"
            )
        if not move.moved:
            raise skipped(f"version {move.version} is the champion already")
        self.log.info("version %s is now %s", move.version, move.alias)
        context["outlet_events"][self.outlets[0]].extra = {"version": move.version}
        return move.model_dump(mode="json")


class RollbackOperator(BaseOperator):
    """Puts an alias back to the version before.

    Its asset event is emitted for the champion only.

    Args:
        root: The project's folder.
        alias: The alias.
        reason: Why, for the journal.
    """

    template_fields: Sequence[str] = ("root", "alias", "reason")
    ui_color = "#f8d7d4"

    def __init__(
        self,
        *,
        root: str,
        alias: str,
        reason: str,
        **kwargs: Any,  # noqa: ANN401  # BaseOperator's own arguments
    ) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.alias = alias
        self.reason = reason

    def execute(self, context: Context) -> dict[str, Any]:
        """Moves the alias back.

        Returns:
            The move: version, alias, and the version that the alias had before.

        Raises:
            TrackingError: MLflow does not answer, or there is no version before.
        """
        from housing.mlops import registry  # mlflow is too heavy for a DAG file

        settings, params = _project(self.root)
        who = context["dag_run"].triggering_user_name or "unknown"
        with explained(context):
            move = registry.rollback(settings, params, self.alias, who, self.reason)
        self.log.info("%s is back at version %s", move.alias, move.version)
        if move.alias == params.registry.champion:
            context["outlet_events"][self.outlets[0]].extra = {"version": move.version}
        else:
            self.outlets = []
        return move.model_dump(mode="json")


def _project(root: str) -> tuple[Settings, Params]:
    settings = load_settings(Path(root))
    return settings, load_params(settings.root / "params.yaml")
