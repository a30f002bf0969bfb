"""Slack is played by a local HTTP server, the mail server by a local SMTP server."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from housing.errors import NotificationError
from housing.messages import Message
from housing.orchestration import mail, slack
from tests.fake_channels import (
    MAIL_SECRET,
    SECRET,
    SILENCE,
    Answer,
    Mailbox,
    Slack,
    playing_mail,
    playing_slack,
)

MESSAGE = Message("version 4 is now staging", good=True, facts=(("RMSE", "$41,000"),))


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slack]:
    with playing_slack() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_DEFAULT", server.connection)
        yield server


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    with playing_mail() as box:
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", box.connection)
        yield box


def test_slack_gets_text_and_blocks(channel: Slack) -> None:
    slack.post(MESSAGE)
    assert channel.bodies == [MESSAGE.to_slack()]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_slack_is_asked_again_when_it_is_busy_or_broken(channel: Slack, status: int) -> None:
    channel.answers.append((status, {"Retry-After": "0"}))
    slack.post(MESSAGE)
    assert channel.bodies == [MESSAGE.to_slack()] * 2


@pytest.mark.parametrize(
    ("given", "tries"),
    [
        pytest.param([(404, {})] * 9, 1, id="a webhook that is gone is not asked again"),
        pytest.param([(500, {"Retry-After": "0"})] * 9, 4, id="there is a last try"),
        pytest.param([(429, {"Retry-After": "3600"})] * 9, 1, id="nobody waits for an hour"),
        pytest.param([(SILENCE, {})] * 9, 1, id="silence ends, and the message is not sent twice"),
    ],
)
def test_slack_that_does_not_take_the_message_ends_in_one_error(
    channel: Slack,
    caplog: pytest.LogCaptureFixture,
    given: list[Answer],
    tries: int,
) -> None:
    caplog.set_level(logging.DEBUG)
    channel.answers.extend(given)
    with pytest.raises(NotificationError, match="Slack did not take the message") as raised:
        slack.post(MESSAGE)
    assert len(channel.bodies) == tries
    assert SECRET not in str(raised.value)
    assert SECRET not in caplog.text


def test_a_refused_connection_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with playing_slack() as closed:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_DEFAULT", closed.connection)
    with pytest.raises(NotificationError, match="refused"):
        slack.post(MESSAGE)


def test_slack_without_a_connection_says_how_to_make_one() -> None:
    with pytest.raises(NotificationError, match="connections add slack_default"):
        slack.post(MESSAGE)


def test_mail_reaches_everybody(mailbox: Mailbox) -> None:
    mail.send(MESSAGE, "a@example.com, b@example.com")
    (received,) = mailbox.mails
    assert mailbox.recipients == ["a@example.com", "b@example.com"]
    assert received["Subject"] == MESSAGE.title
    assert received["From"] == "pipeline@example.com"
    body = received.get_body(("html",))
    assert body is not None
    assert "$41,000" in body.get_content()


def test_mail_is_tried_again(mailbox: Mailbox) -> None:
    mailbox.refusals = 2
    mail.send(MESSAGE, "a@example.com")
    assert len(mailbox.mails) == 1


def test_mail_that_is_not_taken_is_one_error(mailbox: Mailbox) -> None:
    mailbox.refusals = 9
    with pytest.raises(NotificationError, match="did not take the message"):
        mail.send(MESSAGE, "a@example.com")
    assert mailbox.mails == []


def test_a_refused_login_is_one_error_without_the_password(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    mailbox.locked = True
    with pytest.raises(NotificationError, match="did not take the message") as raised:
        mail.send(MESSAGE, "a@example.com")
    assert mailbox.mails == []
    assert MAIL_SECRET not in str(raised.value)
    assert MAIL_SECRET not in caplog.text


@pytest.mark.usefixtures("mailbox")
def test_mail_without_recipients_says_how_to_name_them() -> None:
    with pytest.raises(NotificationError, match="HOUSING_MAIL_TO"):
        mail.send(MESSAGE, "")


def test_mail_without_a_connection_says_how_to_make_one() -> None:
    with pytest.raises(NotificationError, match="connections add smtp_default"):
        mail.send(MESSAGE, "a@example.com")
