from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from mlflow import MlflowClient

from housing.domain.config import Params
from housing.domain.verdict import Verdict, render
from housing.errors import RegistryError, TrackingUnavailableError
from housing.mlops.registry import (
    aliases,
    assign,
    promote,
    read_journal,
    rollback,
    set_champion,
    validate,
    versions,
)
from housing.mlops.registry.client import VERDICT
from housing.mlops.registry.comparison import side_by_side
from housing.mlops.registry.journal import Entry, journal_id, open_entry, previous
from housing.mlops.registry.promote import summary
from housing.mlops.tracking.connection import connected
from tests.synthetic import Workspace, houses, under_model


@dataclass
class Line:
    """Three results on more and more data, judged, none promoted yet."""

    workspaces: tuple[Workspace, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def params(self) -> Params:
        return self.workspaces[0].params

    @property
    def last(self) -> Workspace:
        return self.workspaces[-1]

    @property
    def client(self) -> MlflowClient:
        with connected(self.last.settings) as client:
            return client

    def promote(self, number: int) -> None:
        """Promotes a result, with a verdict against what the alias holds now."""
        held = aliases(self.last.settings, self.params).get("staging")
        verdict = self.verdicts[number].model_copy(
            update={"against": held.version if held else None}
        )
        self.client.set_tag(verdict.run_id, VERDICT, summary(verdict))
        promote(self.workspaces[number].settings, self.params, verdict)

    def named(self, model: str) -> Line:
        """The same results under another registered model."""
        params = under_model(self.params, model)
        workspaces = tuple(replace(one, params=params) for one in self.workspaces)
        for verdict in self.verdicts:
            self.client.set_tag(verdict.run_id, VERDICT, summary(verdict))
        return Line(workspaces, self.verdicts)

    def journal(self) -> list[tuple[str, str, str | None, str, str]]:
        return [
            (entry.alias, entry.kind, entry.from_version, entry.to_version, entry.state)
            for entry in read_journal(self.last.settings, self.params)
        ]

    def holds(self, alias: str = "staging") -> str | None:
        held = aliases(self.last.settings, self.params).get(alias)
        return held.version if held else None


@pytest.fixture(scope="module")
def base(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Line:
    """On a server; tests/test_gate_failures.py promotes in a store without one."""
    workspaces = tuple(
        Workspace(tmp_path_factory.mktemp("line"), mlflow_server, "line").make(
            houses(570 + rounds), rounds, at=1000.0 + rounds
        )
        for rounds in (15, 30, 60)
    )
    verdicts = tuple(validate(one.settings, one.params) for one in workspaces)
    assert all(verdict.passed for verdict in verdicts)
    return Line(workspaces, verdicts)


@pytest.fixture
def line(base: Line, request: pytest.FixtureRequest) -> Line:
    """The results under a registered model of their own."""
    return base.named(request.node.name[:100])


def test_a_promotion_registers_once_and_is_unchanged_after(line: Line) -> None:
    workspace, verdict = line.workspaces[0], line.verdicts[0]
    first = promote(workspace.settings, line.params, verdict, who="ann")
    assert (first.version, first.previous, first.moved) == ("1", None, True)
    again = promote(workspace.settings, line.params, verdict)
    assert (again.version, again.moved) == ("1", False)
    (version,) = versions(workspace.settings, line.params)
    assert version.aliases == ("staging",)
    assert version.verdict == verdict
    assert version.metrics["test_rmse"] == verdict.metrics["rmse"]
    assert version.metrics["test_rmse_low"] < version.metrics["test_rmse"]
    assert len(read_journal(workspace.settings, line.params)) == 1
    seen = validate(workspace.settings, line.params)
    assert seen.unchanged
    assert render(seen).startswith("gate: unchanged")
    assert promote(workspace.settings, line.params, seen).moved is False


def test_other_limits_are_another_question(line: Line) -> None:
    line.promote(0)
    limits = line.params.gate.model_copy(update={"min_r2": 0.9999})
    stricter = line.params.model_copy(update={"gate": limits})
    verdict = validate(line.workspaces[0].settings, stricter)
    assert not verdict.unchanged
    assert not verdict.passed
    assert verdict.contest == "same"
    assert line.holds() == "1"


def test_the_journal_tells_who_when_from_to_why_and_on_what(line: Line) -> None:
    before = time.time_ns() // 1_000_000
    line.promote(0)
    line.promote(1)
    (_, entry) = read_journal(line.last.settings, line.params, "staging")
    assert (entry.from_version, entry.to_version, entry.state) == ("1", "2", "done")
    assert (entry.who, entry.why) == ("pipeline", f"passed the gate ({line.verdicts[1].contest})")
    assert before <= entry.at <= (entry.closed_at or 0)
    assert entry.evidence["result"] == line.verdicts[1].result


def test_rollback_goes_back_step_by_step_and_stays_there(line: Line) -> None:
    for number in range(3):
        line.promote(number)
    settings = line.last.settings
    assert rollback(settings, line.params, "staging", "ann", "slow").version == "2"
    assert not validate(settings, line.params).passed  # the withdrawn result stands in its folder
    assert line.holds() == "2"
    assert rollback(settings, line.params, "staging", "ann", "slower").version == "1"
    with pytest.raises(RegistryError, match="held no version before 1"):
        rollback(settings, line.params, "staging", "ann", "still slow")
    assert [entry[1:4] for entry in line.journal()][-2:] == [
        ("rollback", "3", "2"),
        ("rollback", "2", "1"),
    ]
    assert assign(settings, line.params, "staging", "3", "bob", "it was the disk").version == "3"
    assert validate(settings, line.params).unchanged


def test_a_withdrawn_model_stays_away_under_another_report(line: Line, tmp_path: Path) -> None:
    line.promote(0)
    line.promote(1)
    rollback(line.last.settings, line.params, "staging", "ann", "prices barns as flats")
    shutil.copytree(line.workspaces[1].root, tmp_path / "copy")
    again = replace(line.workspaces[1], root=tmp_path / "copy")
    report = again.root / "reports/evaluation_report.json"
    report.write_text(report.read_text(encoding="utf-8").replace("{", "{ ", 1), encoding="utf-8")
    again.lock()
    verdict = validate(again.settings, line.params)
    assert verdict.result != line.verdicts[1].result
    (reason,) = verdict.reasons
    assert reason.startswith("version 2, the same model, was withdrawn: rolled back by ann")


def test_a_move_that_was_cut_off_is_finished_by_whoever_made_it(line: Line) -> None:
    for number in range(3):
        line.promote(number)
    settings, params = line.last.settings, line.params
    set_champion(settings, params, "1", "ann", "first")
    journal = journal_id(line.client, settings)
    (first,) = read_journal(settings, params, "champion")
    cut = {"from_version": "1", "to_version": "2", "why": "monday"}
    open_entry(line.client, journal, first.model_copy(update=cut))
    set_champion(settings, params, "3", "bob", "newest")
    set_champion(settings, params, "2", "carl", "safer")
    moves = read_journal(settings, params, "champion")
    assert [(m.from_version, m.to_version, m.who, m.state) for m in moves] == [
        (None, "1", "ann", "done"),
        ("1", "2", "ann", "open"),
        ("1", "3", "bob", "done"),
        ("3", "2", "carl", "done"),
    ]
    assert rollback(settings, params, "champion", "carl", "it was not").version == "3"
    finished = set_champion(settings, params, "2", "ann", "monday")
    assert (finished.previous, finished.moved) == ("3", True)


def test_a_champion_that_was_set_and_not_closed_is_finished(line: Line) -> None:
    line.promote(0)
    settings, params = line.last.settings, line.params
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("housing.mlops.registry.alias_move.close_entry", cut_off)
        with pytest.raises(TrackingUnavailableError):
            set_champion(settings, params, "1", "ann", "first")
    assert line.holds("champion") == "1"
    assert set_champion(settings, params, "1", "ann", "first").moved
    assert [entry[-1] for entry in line.journal() if entry[0] == "champion"] == ["done"]
    assert not set_champion(settings, params, "1", "ann", "first").moved


def test_a_person_makes_the_champion(line: Line) -> None:
    line.promote(0)
    settings = line.last.settings
    assert side_by_side(settings, line.params).champion is None
    set_champion(settings, line.params, "1", "ann", "first model")
    line.promote(2)
    both = side_by_side(settings, line.params)
    assert both.champion is not None
    assert (both.challenger.version, both.champion.version) == ("2", "1")
    gain = next(check for check in both.checks if check.name == "gain")
    assert gain.passed
    set_champion(settings, line.params, "2", "ann", "better")
    assert line.holds("champion") == "2"
    assert line.journal()[-1] == ("champion", "assign", "1", "2", "done")
    with pytest.raises(RegistryError, match="has no version 7"):
        set_champion(settings, line.params, "7", "ann", "typo")


def test_the_champion_follows_where_the_parameters_say_so(line: Line) -> None:
    registry = line.params.registry.model_copy(update={"auto_champion": True})
    params = line.params.model_copy(update={"registry": registry})
    promote(line.workspaces[0].settings, params, line.verdicts[0])
    assert line.holds("champion") == line.holds("staging") == "1"
    assert validate(line.workspaces[0].settings, params).unchanged
    assert validate(line.workspaces[1].settings, params).champion == "1"


def test_a_champion_that_a_person_set_meanwhile_is_judged_against(line: Line) -> None:
    registry = line.params.registry.model_copy(update={"auto_champion": True})
    params = line.params.model_copy(update={"registry": registry})
    line.promote(0)
    line.promote(2)
    settings = line.workspaces[1].settings
    assign(settings, line.params, "staging", "1", "ann", "back")
    set_champion(settings, line.params, "1", "ann", "first")
    verdict = line.verdicts[1].model_copy(update={"against": "1", "champion": "1"})
    line.client.set_tag(verdict.run_id, VERDICT, summary(verdict))
    set_champion(settings, line.params, "2", "bob", "newer data")
    with pytest.raises(RegistryError, match=r"champion now holds version 2, not 1 .* ingested"):
        promote(settings, params, verdict)
    assert (line.holds("champion"), line.holds("staging")) == ("2", "1")


def test_the_same_promotion_twice_at_once_makes_one_version(line: Line) -> None:
    workspace, verdict = line.workspaces[0], line.verdicts[0]
    threads = [
        threading.Thread(target=promote, args=(workspace.settings, line.params, verdict))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [version.version for version in versions(workspace.settings, line.params)] == ["1"]
    assert line.holds() == "1"
    assert line.journal() == [("staging", "promote", None, "1", "done")]
    with connected(workspace.settings) as client:
        told = str(client.get_model_version(line.params.registry.model, "1").description)
    assert told.startswith("Passed the gate (first, against no version).")
    assert all(f"| passed | {check.name} | " in told for check in verdict.checks)


class Relay(BaseHTTPRequestHandler):
    """Hands requests on to the server, until it has handed on as many as it may."""

    target: ClassVar[httpx.Client]
    left: ClassVar[int]
    meanwhile: ClassVar[dict[tuple[str, str], Callable[[], None]]]

    def relay(self) -> None:
        kind = type(self)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind.meanwhile.pop((self.command, self.path.split("mlflow/")[-1]), lambda: None)()
        if kind.left == 0:
            self.connection.shutdown(socket.SHUT_RDWR)  # as a killed server does
            self.close_connection = True
            return
        kind.left -= 1
        headers = {key: value for key, value in self.headers.items() if key != "Host"}
        answer = kind.target.request(self.command, self.path, content=body, headers=headers)
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = relay  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Keeps quiet."""


@pytest.fixture
def relay(mlflow_server: str) -> Iterator[str]:
    """A server that can be taken away in front of any request."""
    # One client: each loads the machine's certificates, which takes longer than ten requests.
    with httpx.Client(base_url=mlflow_server, timeout=30) as client:
        Relay.target, Relay.left, Relay.meanwhile = client, -1, {}
        server = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()


@contextmanager
def taken_away_after(requests: int) -> Iterator[None]:
    Relay.left = requests
    try:
        yield
    finally:
        Relay.left = -1


def test_a_promotion_that_is_cut_off_before_any_request_is_finished_later(
    line: Line, relay: str
) -> None:
    line.promote(0)
    away = replace(line.workspaces[1], store=relay)
    verdict = line.verdicts[1].model_copy(update={"against": "1"})
    line.client.set_tag(verdict.run_id, VERDICT, summary(verdict))
    cut = 0
    while True:
        with taken_away_after(cut):
            try:
                promote(away.settings, line.params, verdict)
                break
            except TrackingUnavailableError:
                assert line.holds() in {"1", "2"}
        cut += 1
    assert cut > 10  # every request of the promotion was the one that failed
    assert line.holds() == "2"
    assert [version.version for version in versions(line.last.settings, line.params)] == ["1", "2"]
    assert line.journal() == [
        ("staging", "promote", None, "1", "done"),
        ("staging", "promote", "1", "2", "done"),
    ]
    assert validate(line.workspaces[1].settings, line.params).unchanged


@pytest.mark.parametrize(("slow", "quick"), [(0, 2), (2, 0)], ids=["older", "newer"])
@pytest.mark.parametrize(
    "before",
    [
        ("POST", "model-versions/create"),
        ("POST", "runs/create"),  # the journal's entry
        ("POST", "registered-models/alias"),
        ("POST", "runs/update"),  # the entry is closed
    ],
    ids=["register", "open", "set", "close"],
)
def test_of_two_promotions_at_once_the_newer_data_stays(  # noqa: PLR0913, PLR0917 - a case
    line: Line,
    relay: str,
    before: tuple[str, str],
    slow: int,
    quick: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole quick one happens while one request of the slow one is under way."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")

    def race(number: int, store: str) -> None:
        settings = replace(line.workspaces[number], store=store).settings
        with suppress(RegistryError):
            promote(settings, line.params, line.verdicts[number])

    Relay.meanwhile[before] = lambda: race(quick, line.last.store)
    race(slow, relay)
    assert not Relay.meanwhile
    held = aliases(line.last.settings, line.params)["staging"]
    assert held.result == line.verdicts[2].result


@pytest.mark.parametrize(
    "before",
    [
        ("POST", "model-versions/create"),
        ("POST", "runs/create"),  # the journal's entry
        ("POST", "registered-models/alias"),
        ("POST", "runs/update"),  # the entry is closed
    ],
    ids=["register", "open", "set", "close"],
)
def test_the_same_promotion_twice_at_once_is_journalled_once(
    line: Line, relay: str, before: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole other one happens while one request of this one is under way."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    moved: list[bool] = []

    def race(store: str) -> None:
        settings = replace(line.workspaces[0], store=store).settings
        moved.append(promote(settings, line.params, line.verdicts[0]).moved)

    Relay.meanwhile[before] = lambda: race(line.last.store)
    race(relay)
    assert line.holds() == "1"
    assert line.journal() == [("staging", "promote", None, "1", "done")]
    assert any(moved)


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 10, 14])
def test_a_judgement_that_is_cut_off_promotes_nothing(line: Line, relay: str, cut: int) -> None:
    away = replace(line.workspaces[0], store=relay)
    with taken_away_after(cut), pytest.raises(TrackingUnavailableError):
        validate(away.settings, line.params)
    assert line.holds() is None


def test_a_server_that_hangs_is_given_up(line: Line) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        away = replace(line.workspaces[0], store=url)
        settings = away.settings.model_copy(update={"mlflow_timeout": 0.2})
        with pytest.raises(TrackingUnavailableError, match="timed out"):
            validate(settings, line.params)
        with pytest.raises(TrackingUnavailableError, match="timed out"):
            promote(settings, line.params, line.verdicts[0])


def cut_off(*_: object) -> None:
    raise TrackingUnavailableError("MLflow gives no answer")


def move(kind: str, to: str, before: str | None = None, state: str = "done") -> Entry:
    return Entry.model_validate(
        {
            "model": "m",
            "alias": "a",
            "kind": kind,
            "from_version": before,
            "to_version": to,
            "who": "",
            "why": "",
            "data_time": 0,
            "evidence": {},
            "state": state,
        }
    )


ONE = move("promote", "1")
TWO = move("promote", "2", before="1")
THREE = move("promote", "3", before="2")


@pytest.mark.parametrize(
    ("history", "holder", "expected"),
    [
        ([], "1", None),
        ([ONE], "1", None),
        ([move("promote", "2", before="1")], "2", "1"),
        ([ONE, TWO], "2", "1"),
        ([ONE, move("promote", "2", state="open")], "1", None),
        ([ONE, move("promote", "2", state="refused")], "1", None),
        ([ONE, TWO, move("rollback", "1", before="2")], "1", None),
        ([ONE, TWO, THREE, move("rollback", "2", before="3")], "2", "1"),
        ([ONE, TWO, move("rollback", "1", before="2"), move("assign", "3", before="1")], "3", "1"),
        # somebody moved the alias in MLflow itself
        ([ONE, TWO], "3", "2"),
        ([ONE, TWO, move("promote", "4", before="3")], "4", "3"),
        ([ONE, TWO, move("rollback", "2", before="3")], "2", "1"),
        # the alias was moved, and the entry not closed
        ([ONE, TWO, move("assign", "3", before="2", state="open")], "3", "2"),
        ([ONE, TWO, THREE, move("rollback", "2", before="3", state="open")], "2", "1"),
        ([ONE, TWO, THREE, move("rollback", "2", before="3", state="open")], "3", "2"),
    ],
)
def test_the_version_before(history: list[Entry], holder: str, expected: str | None) -> None:
    assert previous(tuple(history), holder) == expected
