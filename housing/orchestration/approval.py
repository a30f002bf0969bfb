"""The question whether a version shall be champion, and what follows from a person's answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseOperator, Context, Param
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import CreateHITLDetailPayload, HITLDetailRequestResult

from housing.domain.config import load_registered
from housing.engine.airflow.error_handling import ERROR_KEY, explained
from housing.engine.airflow.fast_skip import skipped
from housing.engine.errors import typeable
from housing.errors import HousingError
from housing.orchestration import xcom_keys
from housing.settings import load_settings

WHY = "why"
"""Field of the answer that holds the person's own words."""

_WORDS = Param(
    None,
    source="task",
    type=["null", "string"],
    maxLength=1000,  # MLflow keeps it in a tag
    title="Why",
    description="In your own words, for the journal.",
)


class ApproveOperator(ApprovalOperator):
    """Asks a person about a comparison, and remembers which versions the question was about.

    Airflow's own operator renders subject and body as templates; names and reasons that people
    typed stand in both, so here nothing is rendered. What it returns is Airflow's answer with the
    versions that the person saw, as ``asked``.

    Airflow draws the default answer as the page's main button, and gives it where nobody answers.
    So there is none where every check passed, which leaves both buttons alike, and *Reject* is it
    where one failed.

    Args:
        root: The project's folder.
        compare: Task id of the `CompareOperator`.
        **kwargs: Arguments of Airflow's ``ApprovalOperator``, but for subject, body, defaults,
            params and response_timeout, which follow from the comparison.
    """

    template_fields = ()

    def __init__(self, *, root: str, compare: str, **kwargs: Any) -> None:  # noqa: ANN401  # ApprovalOperator's own
        # Airflow hands the DAG's own params in; only those of the task are asked for.
        super().__init__(subject="", body="", **{**kwargs, "params": {WHY: _WORDS}})
        self.root = root
        self.compare = compare

    def execute(self, context: Context) -> None:
        """Puts the question and waits for the answer.

        Raises:
            TaskAwaitingInput: Airflow's way to wait without a process.
            AirflowFailException: The page would show an older question, or the time to answer is
                over.
        """
        ti = context["ti"]
        asked = ti.xcom_pull(task_ids=self.compare)
        self.subject, self.body = asked["title"], asked["body"]
        self.defaults = None if asked["passed"] else [self.REJECT]
        self.response_timeout = datetime.fromisoformat(asked["deadline"]) - datetime.now(UTC)
        if self.response_timeout <= timedelta():
            raise self._out_of_date(context, f"the time to answer ended at {asked['deadline']}")
        ti.xcom_push(
            key=xcom_keys.ASKED, value={key: asked[key] for key in ("version", "champion")}
        )
        self._require_shown(context)
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Takes the answer; a rejection skips what follows.

        Returns:
            ``chosen_options``, ``responded_by_user`` and more of Airflow's, and ``asked``.
        """
        asked = context["ti"].xcom_pull(task_ids=self.task_id, key=xcom_keys.ASKED)
        if "error" not in event:
            # First: a rejection leaves Airflow's own method by an exception, which skips.
            self._tell(event, asked["version"])
        answer = super().execute_complete(context=context, event=event)
        return {**answer, "asked": asked}

    def _tell(self, event: dict[str, Any], version: str) -> None:
        """Logs the answer, and leaves a person's no at the version."""
        who = (event["responded_by_user"] or {}).get("name") or "nobody, in time"
        words = (event["params_input"] or {}).get(WHY) or "no words"
        self.log.info("%s by %s: %s", event["chosen_options"][0], who, words)
        if event["chosen_options"] == [self.REJECT] and event["responded_by_user"]:
            self._note_rejection(version, who, words)

    def _note_rejection(self, version: str, who: str, words: str) -> None:
        """Leaves the person's no at the version; the answer holds without it."""
        from housing.mlops import registry  # mlflow is too heavy for a DAG file

        settings = load_settings(Path(self.root))
        params = load_registered(settings.root / "params.yaml")
        try:
            registry.decline(settings, params, version, who, words)
        except HousingError as error:
            self.log.warning("not noted at version %s: %s", version, error)

    def process_trigger_event_error(self, event: dict[str, Any]) -> None:
        """Ends the task as skipped where nobody answered in time."""
        if event["error_type"] == "timeout":
            raise skipped("nobody answered in time: nothing changes")
        super().process_trigger_event_error(event)

    def _require_shown(self, context: Context) -> None:
        """Refuses to wait where the page shows another question than this one.

        Airflow keeps the first text of a task's question for good, also where the task is cleared
        and asks anew. Only the answer to this request tells which text it keeps.
        """
        shown = task_runner.SUPERVISOR_COMMS.send(
            CreateHITLDetailPayload(
                ti_id=context["ti"].id,
                options=self.options,
                subject=self.subject,
                body=self.body,
                defaults=self.defaults,
                multiple=self.multiple,
                params=self.serialized_params,
                assigned_users=[],
            )
        )
        assert isinstance(shown, HITLDetailRequestResult)  # noqa: S101 - what answers this request
        if (shown.subject, shown.body) != (self.subject, self.body):
            fact = (
                f"the page of this task still asks {shown.subject!r}, and Airflow changes no "
                "question"
            )
            raise self._out_of_date(context, fact)

    def _out_of_date(self, context: Context, fact: str) -> AirflowFailException:
        message = f"out of date: {fact}\n  next: {typeable(f'airflow dags trigger {self.dag_id}')}"
        context["ti"].xcom_push(key=ERROR_KEY, value=message)
        return AirflowFailException(message)


class SetChampionOperator(BaseOperator):
    """Makes the version that a person approved the champion, and writes who did it.

    Its asset event starts what follows the champion.

    Args:
        root: The project's folder.
        approve: Task id of the `ApproveOperator`.
    """

    ui_color = "#d9f2d0"

    def __init__(
        self,
        *,
        root: str,
        approve: str,
        **kwargs: Any,  # noqa: ANN401  # BaseOperator's own arguments
    ) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.approve = approve

    def execute(self, context: Context) -> dict[str, Any]:
        """Moves the alias to the version that the person saw.

        Returns:
            The move: version, alias, and the version that the alias had before.

        Raises:
            AirflowSkipException: Nobody approved, staging or champion changed since the person was
                asked, or the version is the champion already.
            TrackingError: MLflow does not answer, or cannot do it.
        """
        from housing.mlops import registry  # mlflow is too heavy for a DAG file

        # A task that somebody marked as done leaves no answer.
        answer = context["ti"].xcom_pull(task_ids=self.approve) or {}
        who = (answer.get("responded_by_user") or {}).get("name") or "unknown"
        if answer.get("chosen_options") != [ApprovalOperator.APPROVE] or not answer.get("asked"):
            raise skipped(f"nobody approved: {answer.get('chosen_options', 'no answer')} by {who}")
        asked = answer["asked"]
        settings = load_settings(Path(self.root))
        with explained(context):
            params = load_registered(settings.root / "params.yaml")
            held = registry.aliases(settings, params)
            names = params.registry
            sides = {"version": names.staging, "champion": names.champion}
            now = {key: held[a].version if a in held else "" for key, a in sides.items()}
            # A try that was cut off may have moved the alias already: it is finished then.
            if asked != now and asked["version"] != now["champion"]:
                raise skipped(_outdated(asked, now))
            why = (answer.get("params_input") or {}).get(WHY) or "approved in Airflow, no words"
            move = registry.set_champion(settings, params, asked["version"], who, why)
        if not move.moved:
            raise skipped(f"version {move.version} is the champion already")
        self.log.info("version %s is now %s", move.version, move.alias)
        context["outlet_events"][self.outlets[0]].extra = {"version": move.version}
        return move.model_dump(mode="json")


def _outdated(asked: dict[str, str], now: dict[str, str]) -> str:
    told = " and ".join(
        f"{place} {sides['version'] or 'none'} against {sides['champion'] or 'none'}"
        for place, sides in (("the question was about version", asked), ("it is now", now))
    )
    return f"the answer came too late and moves nothing: {told}"
