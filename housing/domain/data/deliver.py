"""A new delivery into the landing folder: checked first, then there at once and whole."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from tempfile import TemporaryDirectory

from housing.domain.config import Params
from housing.domain.data.check import Tally, checked
from housing.domain.data.landing import PARTIAL, SUFFIXES, can_be_delivered, open_delivery
from housing.domain.data.schema import RowSchema
from housing.domain.data.unchanged import require_unchanged, stamp
from housing.engine.files import flush
from housing.errors import DataError


@dataclass(frozen=True)
class Delivery:
    """What became of a file that was handed in.

    Attributes:
        path: Where it lies now, in the landing folder.
        already_there: The very same file had been delivered under this name before.
        rows: Rows that it holds.
        bad_rows: How many of them will go to quarantine.
        reasons: How many rows broke each rule.
        extra_columns: Columns that the table does not have: they will be left out.
    """

    path: Path
    already_there: bool
    rows: int
    bad_rows: int
    reasons: dict[str, int]
    extra_columns: tuple[str, ...]


def deliver(file: Path, root: Path, params: Params) -> Delivery:
    """Checks a file against the schema and puts a copy into the landing folder.

    The copy comes under a hidden name, is checked there, and gets its name in one step: nobody
    reads half a delivery, or another one than was checked. A delivery is never overwritten.

    Args:
        file: A CSV or Parquet file.
        root: The project's folder, which holds ``data.landing``.
        params: Says where deliveries lie, what their columns are and how many bad rows are let by.

    Raises:
        DataError: The file is no delivery, does not fit, has too many bad rows, or another
            delivery has its name.
    """
    if not file.is_file():
        raise DataError(f"there is no file {file}", "check the path")
    if not can_be_delivered(file):
        raise DataError(
            f"{file.name} is no name of a delivery: the landing folder takes names that end in "
            f"{' or '.join(SUFFIXES)} and do not begin with a dot",
            "rename the file",
        )
    landing = root / params.data.landing
    landing.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", suffix=PARTIAL, dir=landing) as hidden:
        copy = Path(hidden) / file.name
        _copy(file, copy)
        data = params.data
        delivery = open_delivery(copy, tuple(data.columns), data.csv, str(file))
        tally = Tally()
        for split in checked(delivery, RowSchema(data.columns, data.csv)):
            tally.add(split)
        tally.require_few_bad(
            params.ingest.max_bad_fraction,
            "mend the file and deliver it again; nothing was delivered",
        )
        return Delivery(
            path=landing / file.name,
            already_there=not _publish(copy, landing / file.name),
            rows=tally.rows,
            bad_rows=tally.bad,
            reasons=dict(tally.reasons),
            extra_columns=delivery.extra,
        )


def _copy(file: Path, copy: Path) -> None:
    try:
        opened = stamp(file)
        shutil.copyfile(file, copy)
        require_unchanged(file, opened)
    except OSError as error:
        raise DataError(
            f"{file} cannot be copied to the landing folder: {error}",
            "check its permissions and the free space",
        ) from error


def _publish(copy: Path, target: Path) -> bool:
    """Gives the copy its name; answers whether it is new.

    A link, other than a rename, fails where the name is taken, also by somebody else just now.
    """
    flush(copy)
    try:
        target.hardlink_to(copy)
    except FileExistsError as error:
        if cmp(copy, target, shallow=False):
            return False
        raise DataError(
            f"{target} is another delivery of the same name", "give the new file another name"
        ) from error
    flush(target.parent)
    return True
