"""The commands and their options; what a command needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 3 the gate rejected the model, "
    "130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts; also an error.")]


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"housing {version('housing')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """House prices: DVC stages as Airflow tasks, gated by MLflow."""


@app.command()
def run(
    force: Annotated[bool, typer.Option(help="Run every stage, changed or not.")] = False,
    json: Json = False,
) -> None:
    """Run the pipeline once through Airflow and show what it did."""
    from housing.cli.run import run_pipeline

    raise typer.Exit(run_pipeline(force=force, as_json=json))


@app.command()
def repro(
    stages: Annotated[
        list[str] | None, typer.Argument(help="Stages, with all upstream of them; all if none.")
    ] = None,
    json: Json = False,
) -> None:
    """Bring stages up to date as `dvc repro` does, waiting for a run that is going on."""
    from housing.cli.repro import reproduce

    raise typer.Exit(reproduce(stages or [], as_json=json))


@app.command()
def plan(
    stages: Annotated[
        list[str] | None, typer.Argument(help="Stages, with all upstream of them; all if none.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Plan a run of every stage, changed or not.")] = False,
    json: Json = False,
) -> None:
    """Tell which stages would run, why, and how long that takes; nothing runs."""
    from housing.engine.execution import plan
    from housing.settings import load_settings

    plan.show(load_settings().root, stages or [], force=force, as_json=json)


@app.command()
def up() -> None:
    """Start Airflow and MLflow in the background, on loopback, and print the logins."""
    from housing.cli.up import up

    up()


@app.command()
def down() -> None:
    """Stop what `housing up` started."""
    from housing.cli.up import down

    down()


@app.command()
def dashboard(json: Json = False) -> None:
    """Make the dashboard anew from what MLflow holds, and say where it is."""
    from json import dumps

    from housing.cli.services import seen
    from housing.dashboard.update import update
    from housing.domain.config import load_params
    from housing.settings import load_settings

    settings = load_settings()
    params = load_params(settings.root / "params.yaml")
    page = str(update(seen(settings), params))
    typer.echo(dumps({"page": page}) if json else page)


@app.command()
def deliver(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file of houses with prices.")],
    json: Json = False,
) -> None:
    """Check a delivery and put it into the landing folder; training follows."""
    from housing.cli.files import deliver_file

    deliver_file(file, as_json=json)


@app.command()
def predict(
    file: Annotated[str, typer.Argument(help="A CSV or Parquet file of houses, or s3://...")],
    alias: Annotated[str, typer.Option(help="Alias of the model; the champion's if none.")] = "",
    into: Annotated[str, typer.Option(help="Folder in object storage for the prices.")] = "",
    json: Json = False,
) -> None:
    """Price a file by the model in an alias; bad rows go to quarantine."""
    from housing.cli.files import predict_file

    predict_file(file, alias, into, as_json=json)


@app.command()
def explain(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file of houses.")],
    row: Annotated[int, typer.Argument(help="Number of a row in it, from 1.", min=1)],
    alias: Annotated[str, typer.Option(help="Alias of the model; the champion's if none.")] = "",
    json: Json = False,
) -> None:
    """Say why a house has its price, and what similar houses cost."""
    from housing.cli.files import explain_row

    explain_row(file, row, alias, as_json=json)


@app.command()
def champion(
    version: Annotated[str, typer.Argument(help="The version that shall serve production.")] = "",
    why: Annotated[str, typer.Option(help="The reason, for the journal.")] = "",
    json: Json = False,
) -> None:
    """Show challenger and champion side by side, or set the champion."""
    from housing.cli.aliases import set_champion, show_contest

    if version:
        set_champion(version, why, as_json=json)
    else:
        show_contest(as_json=json)


@app.command()
def rollback(
    why: Annotated[str, typer.Option(help="The reason, for the journal.")],
    alias: Annotated[str, typer.Option(help="Alias to put back; the champion's if none.")] = "",
    json: Json = False,
) -> None:
    """Put an alias back to the version before."""
    from housing.cli.aliases import roll_back

    roll_back(alias, why, as_json=json)


@app.command()
def reproduce(
    version: Annotated[str, typer.Argument(help="The version in MLflow's registry.")],
    into: Annotated[
        Path | None, typer.Option(help="Folder to make; housing-VERSION here if none.")
    ] = None,
    retrain: Annotated[
        bool, typer.Option(help="Run every stage anew, and compare the bytes that it makes.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a folder with the code, params, data, features and model of a version, and prove it."""
    from housing.cli.reproduce import reproduce_version

    raise typer.Exit(reproduce_version(version, into, retrain=retrain, as_json=json))


@app.command()
def status(json: Json = False) -> None:
    """Show which versions are live, what runs, and what waits for a person."""
    from housing.cli.status import show_status

    raise typer.Exit(show_status(as_json=json))


@app.command()
def doctor(
    deep: Annotated[bool, typer.Option(help="Hash DVC's whole cache and every out, too.")] = False,
    json: Json = False,
) -> None:
    """Check the set-up, and say what is wrong and how to mend it."""
    from housing.cli.doctor import examine

    raise typer.Exit(examine(as_json=json, deeply=deep))
