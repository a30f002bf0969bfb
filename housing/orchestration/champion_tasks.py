"""The tasks that show a person who could serve production, and take a decision back."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context

from housing.domain.config import load_registered, load_what_holds
from housing.engine.airflow.error_handling import explained
from housing.engine.airflow.fast_skip import skipped
from housing.orchestration.addresses import dashboard_tab
from housing.settings import Settings, load_settings

if TYPE_CHECKING:
    from housing.mlops.registry import Version


class CompareOperator(BaseOperator):
    """Puts challenger and champion side by side, as a person reads them before deciding.

    Args:
        root: The project's folder.
    """

    ui_color = "#fdf0c8"

    def __init__(self, *, root: str, **kwargs: Any) -> None:  # noqa: ANN401  # BaseOperator's own
        super().__init__(**kwargs)
        self.root = root

    def execute(self, context: Context) -> dict[str, Any]:
        """Compares the version in staging with the champion.

        Returns:
            ``version`` and ``champion``, the two versions ("" for no champion); ``title`` and
            ``body``, the comparison in Markdown; ``passed``, whether every check did; and
            ``deadline``, the moment in ISO format until which a person may answer.

        Raises:
            AirflowSkipException: The version in staging is the champion already.
            TrackingError: MLflow does not answer, or nothing is in staging.
        """
        from housing import messages
        from housing.mlops.registry.comparison import side_by_side  # polars is too heavy here

        settings = load_settings(Path(self.root))
        with explained(context):
            params = load_what_holds(settings.root / "params.yaml")
            sides = side_by_side(settings, params)
        challenger, champion = sides.challenger, sides.champion
        if champion and champion.version == challenger.version:
            raise skipped(f"version {challenger.version} is the champion already")
        # Of the run's own moment, so that a task that is cleared asks with the same words.
        deadline = context["dag_run"].run_after + timedelta(hours=settings.approval_hours)
        contest = messages.contest(
            params.registry.model,
            (challenger.version, challenger.metrics),
            (champion.version, champion.metrics) if champion else None,
            sides.checks,
            challenger.overrides,
        )
        message = messages.question(
            contest,
            _answer(challenger.version, champion.version if champion else None, deadline),
            _links(context, settings, params.registry.model, challenger, champion),
        )
        self.log.info("%s", message.to_text())
        return {
            "version": challenger.version,
            "champion": champion.version if champion else "",
            "title": message.title,
            "body": message.to_markdown(),
            "passed": sides.passed,
            "deadline": deadline.isoformat(),
        }


def _answer(
    challenger: str, champion: str | None, deadline: datetime
) -> tuple[tuple[str, str], ...]:
    stays = f"version {champion} stays champion" if champion else "no version serves production"
    return (
        ("answer until", f"{deadline:%Y-%m-%d %H:%M} UTC; without an answer, {stays}"),
        (
            "Approve",
            f"version {challenger} is champion at once, and prices the files in data/scoring; the "
            "journal keeps your name and your words",
        ),
        ("Reject", f"{stays}, and version {challenger} stays in staging"),
    )


def _links(
    context: Context, settings: Settings, model: str, challenger: Version, champion: Version | None
) -> dict[str, str]:
    found = {
        f"version {side.version} in MLflow": settings.version_address(model, side.version)
        for side in (challenger, champion)
        if side
    }
    return {
        **found,
        f"run of version {challenger.version}": settings.run_address(challenger.run_id),
        "dashboard": dashboard_tab(context["ti"]),
    }


class RollbackOperator(BaseOperator):
    """Puts the alias of the run's form back to the version before, for the reason in the form.

    Its asset event is emitted for the champion only.

    Args:
        root: The project's folder.
    """

    ui_color = "#f8d7d4"

    def __init__(self, *, root: str, **kwargs: Any) -> None:  # noqa: ANN401  # BaseOperator's own
        super().__init__(**kwargs)
        self.root = root

    def execute(self, context: Context) -> dict[str, Any]:
        """Moves the alias back.

        Returns:
            The move: version, alias, and the version that the alias had before.

        Raises:
            TrackingError: MLflow does not answer, or there is no version before.
        """
        from housing.mlops import registry  # mlflow is too heavy for a DAG file

        settings = load_settings(Path(self.root))
        who = context["dag_run"].triggering_user_name or "unknown"
        with explained(context):
            params = load_registered(settings.root / "params.yaml")
            asked = context["params"]
            move = registry.rollback(settings, params, asked["alias"], who, asked["reason"])
        self.log.info("%s is back at version %s", move.alias, move.version)
        if move.alias == params.registry.champion:
            context["outlet_events"][self.outlets[0]].extra = {"version": move.version}
        else:
            self.outlets = []
        return move.model_dump(mode="json")
