from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from housing.domain.config import Params
from housing.domain.data.deliver import Delivery, deliver
from housing.domain.data.landing import list_landing
from housing.errors import DataError
from tests.synthetic import streets

ROOT = Path(__file__).parents[1]
HEADER = "rooms,street,price\n"
GOOD = "3,Main,1000\n"
BAD = "0,Main,1000\n"


@pytest.fixture
def params() -> Params:
    return streets("in/landing", ingest={"max_bad_fraction": 0.5})


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    return tmp_path / "in" / "landing"


@pytest.fixture
def hand_in(tmp_path: Path, params: Params) -> Callable[..., Delivery]:
    """Writes a file outside of the landing folder and delivers it."""

    def hand_in(*lines: str, name: str = "new.csv", header: str = HEADER) -> Delivery:
        file = tmp_path / name
        file.write_text(header + "".join(lines), encoding="utf-8")
        return deliver(file, tmp_path, params)

    return hand_in


def test_a_good_file_is_copied(landing: Path, hand_in: Callable[..., Delivery]) -> None:
    delivery = hand_in("1,3,Main,1\n", "2,0,Main,1\n", header="id,rooms,street,price\n")
    assert delivery == Delivery(
        path=landing / "new.csv",
        already_there=False,
        rows=2,
        bad_rows=1,
        reasons={"rooms: below 1": 1},
        extra_columns=("id",),
    )
    assert delivery.path.read_text() == "id,rooms,street,price\n1,3,Main,1\n2,0,Main,1\n"
    assert [entry.name for entry in landing.iterdir()] == ["new.csv"]
    assert delivery.path.stat().st_nlink == 1


def test_parquet_is_delivered_too(tmp_path: Path, landing: Path, params: Params) -> None:
    file = tmp_path / "new.parquet"
    pl.DataFrame({"rooms": [1], "street": ["a"], "price": [2.5]}).write_parquet(file)
    assert deliver(file, tmp_path, params).rows == 1
    assert (landing / "new.parquet").read_bytes() == file.read_bytes()


def test_the_same_file_again_changes_nothing(
    landing: Path, hand_in: Callable[..., Delivery]
) -> None:
    hand_in(GOOD)
    before = (landing / "new.csv").stat()
    assert hand_in(GOOD).already_there
    after = (landing / "new.csv").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_that_lies_there_already_changes_nothing(
    tmp_path: Path, params: Params, hand_in: Callable[..., Delivery]
) -> None:
    path = hand_in(GOOD).path
    assert deliver(path, tmp_path, params).already_there


def test_a_delivery_is_never_overwritten(landing: Path, hand_in: Callable[..., Delivery]) -> None:
    hand_in(GOOD)
    with pytest.raises(DataError, match=r"new\.csv is another delivery of the same name"):
        hand_in(GOOD, GOOD)
    assert (landing / "new.csv").read_text() == HEADER + GOOD
    assert [entry.name for entry in landing.iterdir()] == ["new.csv"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("new.txt", HEADER + GOOD, "new.txt is no name of a delivery"),
        (".new.csv", HEADER + GOOD, ".new.csv is no name of a delivery"),
        ("new.csv", "rooms,price\n1,2\n", r"new\.csv has no column street"),
        ("new.csv", HEADER + GOOD + "1\n", r"new\.csv cannot be read: .*Row #3"),
        ("new.csv", HEADER + GOOD + BAD + BAD, r"2 of 3 rows are bad(.|\n)*new\.csv, row 2: rooms"),
        ("new.parquet", HEADER + GOOD, r"new\.parquet cannot be read"),
    ],
)
def test_a_file_that_does_not_fit_stays_out(
    landing: Path,
    hand_in: Callable[..., Delivery],
    name: str,
    content: str,
    message: str,
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        hand_in(name=name, header=content)
    assert caught.value.hint
    assert "partial" not in str(caught.value)
    assert not landing.exists() or list(landing.iterdir()) == []


def test_a_file_that_is_not_there(tmp_path: Path, params: Params) -> None:
    with pytest.raises(DataError, match=r"there is no file .*none\.csv"):
        deliver(tmp_path / "none.csv", tmp_path, params)


def test_a_delivery_on_its_way_is_not_seen(landing: Path, hand_in: Callable[..., Delivery]) -> None:
    hand_in(GOOD)
    (landing / ".killed.partial").mkdir()
    (landing / ".killed.partial" / "half.csv").write_text(HEADER)
    listed = list_landing(landing)
    assert [path.name for path in listed.files] == ["new.csv"]
    assert listed.ignored == ()


def test_of_two_at_once_one_wins(tmp_path: Path, landing: Path, params: Params) -> None:
    files = []
    for index in range(4):
        folder = tmp_path / str(index)
        folder.mkdir()
        files.append(folder / "new.csv")
        files[-1].write_text(HEADER + GOOD * (index + 1))

    def refusal(file: Path) -> str:
        try:
            deliver(file, tmp_path, params)
        except DataError as error:
            return error.fact
        return ""

    with ThreadPoolExecutor(len(files)) as pool:
        refusals = list(pool.map(refusal, files))
    assert refusals.count("") == 1
    assert sum("another delivery of the same name" in refusal for refusal in refusals) == 3
    winner = files[refusals.index("")]
    assert (landing / "new.csv").read_bytes() == winner.read_bytes()
