"""MLflow behind a login, a company's certificate and a path: whatever its own client takes."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from housing.errors import HousingError, TrackingError, TrackingUnavailableError
from housing.mlops.registry import aliases, versions
from housing.mlops.registry.fast_check import settled
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.result import Result
from housing.settings import Settings, load_settings
from tests.mlflow_server import free_port
from tests.synthetic import make_params

PREFIX = "/team/mlflow"
PASSWORD = "pa:ss/w@rd"
BASIC = "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
RESULT = Result(Path(), "xgboost", {}, "0" * 16)


class Guard(BaseHTTPRequestHandler):
    """Hands requests below a path on to MLflow, for those who log in or show a certificate.

    As MLflow's own login does, it forbids a user that is no admin to look at what is not there.
    """

    target: ClassVar[httpx.Client]

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        known = self.headers.get("Authorization") in {BASIC, "Bearer t0ken"}
        shown = isinstance(self.connection, ssl.SSLSocket) and self.connection.getpeercert()
        if not (known or shown):
            self.answer(401, b"<html>log in first</html>", "text/html")
        elif not self.path.startswith(f"{PREFIX}/"):
            self.answer(404, b"<html>not here</html>", "text/html")
        else:
            url = self.path.removeprefix(PREFIX)
            kind = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            found = self.target.request(self.command, url, content=body, headers=kind)
            if found.status_code == 404 and "registered-models/alias" in url:
                self.answer(403, b"Permission denied", "text/html")
                return
            self.answer(found.status_code, found.content, found.headers["Content-Type"])

    def answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = relay  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Keeps quiet."""


def certificate(folder: Path) -> Path:
    """Writes a self-signed certificate of 127.0.0.1 and its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a company")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = folder / "certificate.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def guarded(mlflow_server: str, pem: Path) -> Iterator[str]:
    """Address of the guarded MLflow, without login."""
    # One client: each loads the machine's certificates, which takes longer than ten requests.
    Guard.target = httpx.Client(base_url=mlflow_server, timeout=30)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Guard)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.load_verify_locations(pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}{PREFIX}/"
    server.shutdown()
    server.server_close()
    Guard.target.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and an environment without any login; both are as before afterwards."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("TRACKING_USERNAME", "TRACKING_PASSWORD", "TRACKING_TOKEN", "TRACKING_URI"):
        monkeypatch.setenv(f"MLFLOW_{name}", "")
    return tmp_path


def ask(settings: Settings) -> None:
    """Asks in both ways: without MLflow's client, and with it."""
    params = make_params()
    assert settled(settings, params, RESULT) is None
    assert aliases(settings, params) == {}
    assert versions(settings, params) == ()


def at(uri: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return load_settings(Path())


def write_credentials(home: Path) -> None:
    (home / ".mlflow").mkdir()
    text = f"[mlflow]\nmlflow_tracking_username = ann\nmlflow_tracking_password = {PASSWORD}\n"
    (home / ".mlflow/credentials").write_text(text)


@pytest.mark.parametrize("way", ["user", "token", "file", "uri"])
def test_every_login_of_mlflow_works(
    guarded: str, home: Path, pem: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(pem))
    user = ""
    if way == "user":
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    elif way == "token":
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    elif way == "file":
        write_credentials(home)
    else:
        user = "ann:pa%3Ass%2Fw%40rd@"
    ask(at(f"https://{user}{guarded}", monkeypatch))


@pytest.mark.parametrize(
    "variable",
    [
        "MLFLOW_TRACKING_SERVER_CERT_PATH",
        "REQUESTS_CA_BUNDLE",
        pytest.param(
            "MLFLOW_TRACKING_INSECURE_TLS",
            marks=pytest.mark.filterwarnings("ignore:Unverified HTTPS"),
        ),
    ],
)
@pytest.mark.usefixtures("home")
def test_every_trust_of_mlflow_works(
    guarded: str, pem: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    monkeypatch.setenv(variable, "true" if "INSECURE" in variable else str(pem))
    ask(at(f"https://{guarded}", monkeypatch))


@pytest.mark.usefixtures("home")
def test_a_certificate_of_the_client_is_shown(
    guarded: str, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(pem))
    ask(at(f"https://{guarded}", monkeypatch))


Call = Callable[[Settings], object]
CALLS: tuple[Call, ...] = (
    lambda settings: settled(settings, make_params(), RESULT),
    lambda settings: aliases(settings, make_params()),
)


@pytest.mark.parametrize("call", CALLS, ids=["look", "client"])
@pytest.mark.usefixtures("home")
def test_a_wrong_login_says_how_to_log_in(
    guarded: str, pem: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(pem))
    with pytest.raises(TrackingError, match="refuses the login") as caught:
        call(at(f"https://ann:planted-secret@{guarded}", monkeypatch))
    assert not isinstance(caught.value, TrackingUnavailableError)  # a retry does not help
    assert "MLFLOW_TRACKING_TOKEN" in caught.value.hint
    assert "planted-secret" not in str(caught.value)


@pytest.mark.parametrize("call", CALLS, ids=["look", "client"])
@pytest.mark.parametrize("bundle", ["", "/nowhere.pem"])
@pytest.mark.usefixtures("home")
def test_an_unknown_certificate_says_how_to_trust_it(
    guarded: str, monkeypatch: pytest.MonkeyPatch, call: Call, bundle: str
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    with pytest.raises(TrackingError, match="is not trusted") as caught:
        call(at(f"https://{guarded}", monkeypatch))
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in caught.value.hint


@pytest.fixture
def trickling() -> Iterator[str]:
    """A server that answers byte by byte, each in time, and the last one after a minute."""
    over = threading.Event()

    def trickle(connection: socket.socket) -> None:
        with connection:
            text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + b"X-Slow: yes\r\n" * 50 + b"\r\n{}"
            for byte in text:
                if over.wait(0.1):
                    return
                connection.sendall(bytes([byte]))

    def serve(listener: socket.socket) -> None:
        while not over.is_set():
            connection, _ = listener.accept()
            threading.Thread(target=trickle, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()


@pytest.mark.parametrize("call", CALLS, ids=["look", "client"])
def test_an_answer_that_trickles_is_given_up(trickling: str, call: Call) -> None:
    settings = load_settings(Path()).model_copy(
        update={"tracking_uri": trickling, "mlflow_timeout": 0.5}
    )
    with pytest.raises(TrackingUnavailableError, match="no whole answer within"):
        call(settings)


def test_an_answer_that_trickles_after_the_first_is_given_up(
    trickling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr("housing.mlops.tracking.connection.knock", lambda _: None)
    settings = load_settings(Path()).model_copy(update={"tracking_uri": trickling})
    with (
        pytest.raises(TrackingUnavailableError, match="no whole answer within"),
        connected(settings) as client,
    ):
        client.search_registered_models()


@pytest.mark.parametrize("call", CALLS, ids=["look", "client"])
def test_no_error_shows_the_password(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    settings = at(f"http://ann:planted-secret@127.0.0.1:{free_port()}/", monkeypatch)
    with pytest.raises(HousingError, match=r"MLflow at http://127\.0\.0\.1") as caught:
        call(settings)
    error: BaseException | None = caught.value
    while error is not None:  # as a traceback shows them
        assert "planted-secret" not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__
    assert "planted-secret" not in repr(settings)
    assert settings.run_address("r") == f"{settings.store}/#/runs/r"
