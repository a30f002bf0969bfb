"""``housing deliver``, ``housing predict`` and ``housing explain``: files that go in."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from housing.cli.console import console_of
from housing.domain.config import Params, load_params
from housing.engine.errors import typeable
from housing.errors import ConfigError
from housing.settings import load_settings

_COMMITTED = "the run of the day takes it, or now: airflow dags trigger housing_ml_pipeline"
_AFTERWARDS = "with make up, training starts by itself; without, type: housing run"


def deliver_file(file: Path, *, as_json: bool) -> None:
    """Checks a delivery, puts it where the next run finds it, and says what follows.

    That is the landing folder; where Airflow's workers share no folder, it is the branch that they
    follow, and DVC's remote.

    Args:
        file: The file.
        as_json: Print JSON.

    Raises:
        DataError: The file is no delivery, does not fit, or has too many bad rows.
        EngineError: git or DVC's remote does not take it.
    """
    from housing.cli.commit_delivery import commit_delivery
    from housing.domain.data.deliver import deliver

    settings = load_settings()
    params = load_params(settings.root / "params.yaml")
    isolated, commit = settings.workspace_kind == "isolated", ""
    with _console(as_json).status(f"checking {escape(file.name)}"):
        if isolated:
            done, commit = commit_delivery(file, settings.root, params)
        else:
            done = deliver(file, settings.root, params)
    if as_json:
        _write(asdict(done) | ({"commit": commit} if isolated else {}))
        return
    console = _console(as_json)
    state = "was there already" if done.already_there else "is delivered"
    told = f"{done.path.name} {state}: {done.rows:,} rows, {done.bad_rows:,} of them bad"
    console.print(told, markup=False)
    _print_reasons(console, done.reasons)
    if done.extra_columns:
        console.print(f"  left out: {', '.join(done.extra_columns)}", markup=False)
    told = "training starts by itself" if settings.stack else typeable(_AFTERWARDS)
    if isolated:
        told = f"commit {commit}; {typeable(_COMMITTED)}" if commit else "the branch has it already"
    console.print(told, markup=False)


def predict_file(name: str, alias: str, into: str, *, as_json: bool) -> None:
    """Prices a file, and says where the prices are.

    Args:
        name: The file, or the address of one in object storage.
        alias: Alias of the model, or "" for the champion's.
        into: Address of a folder in object storage that gets the prices as well, or "".
        as_json: Print JSON.

    Raises:
        ConfigError: ``into`` is no address.
        DataError: The file does not fit, or cannot be read to its end.
        StorageError: Object storage does not answer.
        TrackingError: MLflow does not answer, or the alias points to nothing.
    """
    from housing.cli import object_storage

    if into and not object_storage.is_address(into):
        raise ConfigError(f"--into {into} is no address", "s3://BUCKET/FOLDER, or leave it out")
    with object_storage.on_disk(name, load_settings().root) as file:
        _predict(file, alias, into, as_json=as_json)


def _predict(file: Path, alias: str, into: str, *, as_json: bool) -> None:
    from housing.cli import object_storage
    from housing.mlops import batch_scoring
    from housing.mlops.registry.download import holder

    settings = load_settings()
    params = load_params(settings.root / "params.yaml")
    _require_file(file, params)
    alias = alias or params.registry.champion
    console = _console(as_json)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        # A CSV does not know its rows.
        task = bar.add_task(f"pricing {escape(file.name)}", total=None)
        version, _ = holder(settings, params, alias)
        scores = batch_scoring.predict(
            settings, params, file, version, lambda rows: bar.update(task, completed=rows)
        )
    written = batch_scoring.outputs(settings, file, version)
    # The prices come last: whoever sees them has all of it.
    there = object_storage.put(list(reversed(written)), into) if into else []
    predictions, quarantine = reversed(there) if there else map(str, written)
    if as_json:
        places = {"predictions": predictions, "quarantine": quarantine}
        _write(scores.model_dump(mode="json", exclude={"columns"}) | places)
        return
    console.print(
        f"{scores.scored:,} of {scores.rows:,} rows priced by version {version} ({alias}) "
        f"in {scores.seconds:.1f} s",
        markup=False,
    )
    _print_reasons(console, scores.reasons)
    told = f"  prices:     {predictions}\n  quarantine: {quarantine}"
    console.print(told, soft_wrap=True, markup=False)


def explain_row(file: Path, row: int, alias: str, *, as_json: bool) -> None:
    """Says why a row of a file has its price.

    Args:
        file: The file.
        row: Number of the row, from 1.
        alias: Alias of the model, or "" for the champion's.
        as_json: Print JSON.

    Raises:
        DataError: The file does not fit, or the row is not there or has no price.
        ModelError: The model is older than explanations.
        TrackingError: MLflow does not answer, or the alias points to nothing.
    """
    from housing.mlops.explaining import explain
    from housing.mlops.registry.download import holder

    settings = load_settings()
    params = load_params(settings.root / "params.yaml")
    _require_file(file, params)
    alias = alias or params.registry.champion
    with _console(as_json).status(f"explaining row {row} of {escape(file.name)}"):
        version, _ = holder(settings, params, alias)
        why = explain(settings, params, file, row, version)
    if as_json:
        _write(why.model_dump(mode="json") | {"version": version})
        return
    console = _console(as_json)
    console.print(
        f"row {row} of {file.name}: ${why.prediction:,.0f} (${why.lower:,.0f} to "
        f"${why.upper:,.0f}) by version {version} ({alias})",
        markup=False,
    )
    console.print(f"  {f'${why.base:,.0f}':>10}  is the average", markup=False)
    for one in why.contributions:
        dollars = f"{'-' if one.dollars < 0 else '+'}${abs(one.dollars):,.0f}"
        console.print(f"  {dollars:>10}  {one.name}", markup=False)
    if why.comparables:
        console.print("  the most similar houses that the model learned from:")
    for sale in why.comparables:
        values = ", ".join(
            f"{name} {'-' if value is None else format(value, 'g')}"
            for name, value in sale.columns.items()
        )
        told = f"  {f'${sale.price:,.0f}':>10}  {sale.km:,.1f} km away: {values}"
        console.print(told, markup=False, soft_wrap=True)


def _require_file(file: Path, params: Params) -> None:
    """What is wrong with the file itself comes before what MLflow lacks."""
    from housing.domain.data.misfit import require_kind, unreadable

    try:
        require_kind(file, params.data.csv, str(file))
    except OSError as error:
        raise unreadable(str(file), error) from error


def _console(as_json: bool) -> Console:
    return console_of(as_json=as_json)


def _print_reasons(console: Console, reasons: Mapping[str, int]) -> None:
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
        console.print(f"  {count:,} x {reason}", markup=False)


def _write(content: object) -> None:
    sys.stdout.write(json.dumps(content, indent=2, default=str) + "\n")
