"""The tasks that tell people what a run promoted or priced, or why it did not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator, Context, TriggerRule
from airflow.sdk.bases.xcom import BaseXCom

from housing.domain.config import load_registered
from housing.engine.airflow.error_handling import ERROR_KEY
from housing.engine.airflow.fast_skip import skipped
from housing.engine.airflow.task_states import states_of
from housing.errors import NotificationError
from housing.orchestration import xcom_keys
from housing.orchestration.addresses import run_page
from housing.settings import RUN_LINK, load_settings

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

    from housing.messages import Message

Channel = Literal["slack", "mail"]
CHANNELS: tuple[Channel, ...] = ("slack", "mail")


class TellingOperator(BaseOperator):
    """Base of the tasks that send messages over one channel.

    It runs after the tasks before it, whatever became of them, and never fails for its channel's
    sake: where that is not configured, or dead, the message is logged in full and the task ends as
    skipped.

    Args:
        channel: Where the message goes.
        root: The project's folder.
    """

    ui_color = "#e8dff5"

    def __init__(
        self,
        *,
        channel: Channel,
        root: str,
        **kwargs: Any,  # noqa: ANN401  # BaseOperator's own arguments
    ) -> None:
        kwargs.setdefault("trigger_rule", TriggerRule.ALL_DONE)
        super().__init__(**kwargs)
        self.channel = channel
        self.root = root

    def messages(self, context: Context) -> list[Message]:
        """What there is to tell."""
        raise NotImplementedError

    def execute(self, context: Context) -> list[str]:
        """Sends the messages.

        Returns:
            Their titles.

        Raises:
            AirflowSkipException: There is nothing to tell, the channel is not configured, or it
                did not take a message.
        """
        sent = self.messages(context)
        if not sent:
            raise skipped("nothing to tell")
        for message in sent:
            try:
                self._send(message)
            except NotificationError as error:
                self.log.warning("not delivered, so here it is:\n%s", message.to_text())
                raise skipped(str(error)) from error
        return [message.title for message in sent]

    def _send(self, message: Message) -> None:
        # The providers are too heavy for a DAG file.
        if self.channel == "slack":
            from housing.orchestration import slack

            slack.post(message)
        else:
            from housing.orchestration import mail

            mail.send(message, load_settings().mail_to)


class NotifyOperator(TellingOperator):
    """Tells people what was promoted, what the gate rejected, and what failed.

    Args:
        validate: Task id of the gate.
        promote: Task id of the promotion.
        alert: Task id of the alert.
        **kwargs: Channel, root, and BaseOperator's own arguments.
    """

    def __init__(
        self,
        *,
        validate: str,
        promote: str,
        alert: str,
        **kwargs: Any,  # noqa: ANN401  # the base's arguments
    ) -> None:
        super().__init__(**kwargs)
        self.validate = validate
        self.promote = promote
        self.alert = alert

    def messages(self, context: Context) -> list[Message]:
        """A promotion or a rejection, and the tasks that failed."""
        ti = context["ti"]
        judged = _pull(ti, self.validate, xcom_keys.VERDICT)
        promoted, failures = _pull(ti, self.promote), _pull(ti, self.alert)
        told = _pull(ti, self.validate, xcom_keys.TOLD_BY)
        rejected = bool(judged) and not judged["passed"] and not told
        if not (promoted or rejected or failures):
            return []  # before the imports, which take a second
        from housing import messages  # with the next one 4 ms of each parse of a DAG file
        from housing.domain.verdict import Verdict
        from housing.orchestration.task_logs import last_lines

        model = load_registered(Path(self.root) / "params.yaml").registry.model
        links = {"Airflow run": run_page(ti)}
        found: list[Message] = []
        if judged:
            verdict = Verdict.from_dict(judged)
            links[RUN_LINK] = load_settings().run_address(verdict.run_id)
            if promoted:
                found.append(messages.promotion(model, promoted["version"], verdict, links))
            elif rejected:
                found.append(messages.rejection(model, verdict, links))
        if failures:
            logs = {task: last_lines(ti.dag_id, ti.run_id, task) for task in failures}
            found.append(messages.failure(f"{ti.dag_id}, {ti.run_id}", failures, logs, links))
        return found


class NotifyScoringOperator(TellingOperator):
    """Tells people which files cannot be priced, each of them once, and which tasks failed."""

    def messages(self, context: Context) -> list[Message]:
        """The files that were set aside, and the tasks that failed for another reason."""
        from housing import messages  # 4 ms of each parse of a DAG file

        ti = context["ti"]
        links = {"Airflow run": run_page(ti)}
        refused: dict[str, str] = {}
        failures: dict[str, str] = {}
        for task_id, index in _failed(context):
            new = ti.xcom_pull(task_ids=task_id, key=xcom_keys.REFUSED, map_indexes=index)
            refused |= new or {}
            if new is None and task_id not in failures:  # one of many says enough
                error = ti.xcom_pull(task_ids=task_id, key=ERROR_KEY, map_indexes=index)
                failures[task_id] = error or "ended without a message, see its log"
        found = [messages.refusal(refused, links)] if refused else []
        if failures:
            found.append(messages.failure(f"{ti.dag_id}, {ti.run_id}", failures, {}, links))
        return found


def _failed(context: Context) -> list[tuple[str, int]]:
    """Task id and map index, or -1, of each task of the run that failed by itself."""
    ti = context["ti"]
    found = []
    for name in (name for name, state in states_of(ti).items() if state == "failed"):
        # Airflow names a mapped task here by its id with the index behind it.
        task_id, _, index = name.rpartition("_")
        found.append((name, -1) if name in context["dag"].task_ids else (task_id, int(index)))
    return found


def _pull(
    ti: RuntimeTaskInstanceProtocol, task_id: str, key: str = BaseXCom.XCOM_RETURN_KEY
) -> Any:  # noqa: ANN401  # any XCom
    return ti.xcom_pull(task_ids=task_id, key=key, map_indexes=-1)
