"""The edge of the world: Slack as a local HTTP server, the mail server as a local SMTP server."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

SECRET = "T000/B000/planted-secret"
MAIL_SECRET = "planted-mail-password"
SILENCE = 0
"""Instead of a status: no answer until the test is over."""
Answer = tuple[int, dict[str, str]]


class Slack:
    """Answers each request with the next status and headers that the test set; then with 200."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answers: list[Answer] = []
        self.over = threading.Event()
        slack_itself = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                slack_itself.answer(self)

            def log_message(self, *args: object) -> None:
                """Keeps the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers["Content-Length"])
        self.bodies.append(json.loads(request.rfile.read(length)))
        status, headers = self.answers.pop(0) if self.answers else (200, {})
        if status == SILENCE:
            self.over.wait()
            return
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(b"no_service" if status >= 400 else b"ok")

    @property
    def connection(self) -> str:
        """Airflow's connection to it."""
        address = f"http://127.0.0.1:{self.server.server_address[1]}/services/{SECRET}"
        return json.dumps({"conn_type": "slackwebhook", "password": address})

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Mailbox:
    """Keeps the mails of who logs in; refuses the first ones, or everybody, where asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.refusals = 0
        self.locked = False

    @property
    def connection(self) -> str:
        """Airflow's connection to it."""
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "pipeline@example.com"}
        server = {"conn_type": "smtp", "host": "127.0.0.1", "port": self.port}
        login = {"login": "pipeline", "password": MAIL_SECRET}
        return json.dumps({**server, **login, "extra": extra})

    def admit(self, *session: object) -> AuthResult:
        given = session[-1]
        known = isinstance(given, LoginPassword) and given.password == MAIL_SECRET.encode()
        return AuthResult(success=known and not self.locked, handled=False)

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        if self.refusals:
            self.refusals -= 1
            return "451 try again"
        self.mails.append(message_from_bytes(cast("bytes", envelope.content), policy=default))
        self.recipients += envelope.rcpt_tos
        return "250 OK"


@contextmanager
def playing_slack() -> Iterator[Slack]:
    slack = Slack()
    try:
        yield slack
    finally:
        slack.close()


@contextmanager
def playing_mail() -> Iterator[Mailbox]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        box = Mailbox(probe.getsockname()[1])
    server = Controller(
        box,
        hostname="127.0.0.1",
        port=box.port,
        authenticator=box.admit,
        auth_require_tls=False,
        auth_required=True,
    )
    server.start()
    try:
        yield box
    finally:
        server.stop()
