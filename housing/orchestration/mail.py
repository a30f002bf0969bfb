"""Sends a message by mail. Imports the provider: import this module where a message goes out."""

from __future__ import annotations

from airflow.providers.smtp.hooks.smtp import SmtpHook
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

from housing.errors import NotificationError
from housing.messages import Message

CONNECTION = "smtp_default"
_TIMEOUT = 5  # seconds for one answer
_RETRIES = 2


class BoundedSmtpHook(SmtpHook):
    """The provider's hook, with an end to its patience: by default it waits for minutes."""

    @property
    def timeout(self) -> int:
        """Seconds to wait for one answer."""
        return min(super().timeout, _TIMEOUT)

    @property
    def smtp_retry_limit(self) -> int:
        """How often a lost connection is tried again."""
        return min(super().smtp_retry_limit, _RETRIES)


def send(message: Message, recipients: str) -> None:
    """Sends a mail through the server of Airflow's connection ``smtp_default``.

    Args:
        message: What to tell.
        recipients: Addresses, separated by commas.

    Raises:
        NotificationError: There is no such connection, nobody to write to, or the server did not
            take the mail.
    """
    if not recipients:
        raise NotificationError(
            "mail is not configured: nobody to write to", "export HOUSING_MAIL_TO=you@example.com"
        )
    try:
        Connection.get(CONNECTION)
        with BoundedSmtpHook(smtp_conn_id=CONNECTION) as hook:
            hook.send_email_smtp(
                to=recipients, subject=message.title, html_content=message.to_html()
            )
    except AirflowNotFoundException as error:
        raise NotificationError(
            f"mail is not configured: Airflow has no connection {CONNECTION}",
            f"airflow connections add {CONNECTION} --conn-type smtp --conn-host HOST "
            """--conn-extra '{"from_email": "pipeline@example.com"}'""",
        ) from error
    except (AirflowException, OSError) as error:
        raise NotificationError(
            f"the mail server did not take the message: {error}",
            f"airflow connections test {CONNECTION}",
        ) from error
