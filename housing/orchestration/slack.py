"""Posts a message to Slack. Imports the provider: import this module where a message goes out."""

from __future__ import annotations

import logging
import time
from urllib.error import URLError

from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from slack_sdk.errors import SlackClientError
from slack_sdk.http_retry import HttpRequest, HttpResponse, RetryHandler, RetryState

from housing.errors import NotificationError
from housing.messages import Message

CONNECTION = "slack_default"
_TIMEOUT = 5  # seconds for one answer
_RETRIES = 3
_LONGEST_WAIT = 10.0  # seconds between two tries; whoever asks for more does not get the message
_TOO_MANY = 429
_SERVER_ERROR = 500

# slack_sdk logs the whole address of a webhook, and that address is the secret.
_SILENT = logging.Logger("slack_sdk", logging.CRITICAL)


class BoundedRetry(RetryHandler):
    """Tries again where it can help: no connection, too many requests, a server error.

    An answer that does not come is not asked for again: the message may have arrived.
    """

    def __init__(self) -> None:
        super().__init__(max_retry_count=_RETRIES)

    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,  # noqa: ARG002  # slack_sdk's signature
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        if response is None:
            return isinstance(error, URLError)
        helps = response.status_code == _TOO_MANY or response.status_code >= _SERVER_ERROR
        return helps and _wait(state, response) <= _LONGEST_WAIT

    def prepare_for_next_attempt(
        self,
        *,
        state: RetryState,
        request: HttpRequest,  # noqa: ARG002  # slack_sdk's signature
        response: HttpResponse | None = None,
        error: Exception | None = None,  # noqa: ARG002  # slack_sdk's signature
    ) -> None:
        """Waits before the next try: as long as Slack says, or half a second, doubled each time."""
        state.next_attempt_requested = True
        time.sleep(_wait(state, response))
        state.increment_current_attempt()


def post(message: Message) -> None:
    """Posts a message through the webhook of Airflow's connection ``slack_default``.

    Ends within half a minute, whatever Slack does.

    Args:
        message: What to tell.

    Raises:
        NotificationError: There is no such connection, or Slack did not take the message.
    """
    hook = SlackWebhookHook(
        slack_webhook_conn_id=CONNECTION,
        timeout=_TIMEOUT,
        retry_handlers=[BoundedRetry()],
        logger=_SILENT,
    )
    try:
        hook.send_dict(message.to_slack())
    except AirflowNotFoundException as error:
        raise NotificationError(
            f"Slack is not configured: Airflow has no connection {CONNECTION}",
            f"airflow connections add {CONNECTION} --conn-type slackwebhook "
            "--conn-password https://hooks.slack.com/services/...",
        ) from error
    except (AirflowException, SlackClientError, OSError) as error:
        raise NotificationError(
            f"Slack did not take the message: {error}",
            f"airflow connections test {CONNECTION}",
        ) from error


def _wait(state: RetryState, response: HttpResponse | None) -> float:
    headers = {} if response is None else {k.lower(): v for k, v in response.headers.items()}
    asked = "".join(headers.get("retry-after", []))
    return float(asked) if asked.isdecimal() else 0.5 * 2**state.current_attempt
