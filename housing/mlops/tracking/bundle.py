"""The model as MLflow serves it: raw columns in, price and interval out, nothing else needed.

The bundle holds the very bytes of the booster, the transform and the report, so their hashes can be
compared with ``dvc.lock``, and the code that reads them. It holds no pickle.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from housing.domain.config import Params
from housing.errors import ModelError
from housing.mlops.tracking.logged_rows import test_rows
from housing.mlops.tracking.result import REPORT, TRANSFORM, Result

if TYPE_CHECKING:
    import polars as pl
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.models import ModelSignature

PACKAGE = Path(__file__).parents[2]
CODE = (
    "__init__.py",
    "domain/__init__.py",
    "domain/config.py",
    "domain/features.py",
    "domain/model.py",
    "domain/tables.py",
    "errors.py",
)
"""Files of this package that `pyfunc_model.py` imports, directly or not."""
REQUIREMENTS = ("mlflow", "numpy", "pandas", "polars", "pyarrow", "pydantic", "pyyaml", "xgboost")
OUTPUTS = ("prediction", "lower", "upper")
EXAMPLE_ROWS = 5
TIMEOUT = 600
"""Seconds that scoring a bundle may take."""


def log_model(client: MlflowClient, params: Params, result: Result, run: Run) -> str:
    """Logs the chosen model under the run, once.

    Args:
        client: An open MLflow.
        params: All of ``params.yaml``.
        result: The result in the workspace.
        run: Its run.

    Returns:
        Id of the logged model.
    """
    known = _ready_models(client, run)
    model_id = known[0] if known else _log_new(client, params, result, run)
    _link(client, run.info.run_id, model_id)
    return model_id


def _log_new(client: MlflowClient, params: Params, result: Result, run: Run) -> str:
    from mlflow.entities import LoggedModelStatus

    model = client.create_logged_model(
        run.info.experiment_id, name=result.candidate, source_run_id=run.info.run_id
    )
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        bundle = Path(folder) / "bundle"
        write_bundle(bundle, params, result, run.info.run_id, model.model_id)
        client.log_model_artifacts(model.model_id, str(bundle))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    first = _ready_models(client, run)[0]
    if first != model.model_id:  # two processes logged the same run
        client.delete_logged_model(model.model_id)
    return first


def _link(client: MlflowClient, run_id: str, model_id: str) -> None:
    """Shows the model as the run's output; MLflow refuses to be told twice."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    if _is_linked(client, run_id, model_id):
        return
    try:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
    except MlflowException:
        if not _is_linked(client, run_id, model_id):
            raise


def _is_linked(client: MlflowClient, run_id: str, model_id: str) -> bool:
    outputs = client.get_run(run_id).outputs
    return outputs is not None and model_id in {one.model_id for one in outputs.model_outputs}


def write_bundle(
    bundle: Path, params: Params, result: Result, run_id: str | None, model_id: str | None
) -> None:
    """Writes the model as a folder that ``mlflow.pyfunc.load_model`` reads anywhere.

    Args:
        bundle: A folder that does not exist yet.
        params: Says which columns there are.
        result: The result in the workspace.
        run_id: The run to name in the bundle.
        model_id: The logged model to name in the bundle.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    example = test_rows(result.root, params).select(params.data.inputs).head(EXAMPLE_ROWS)
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        mlflow.pyfunc.save_model(
            path=str(bundle),
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            code_paths=[str(_copy_code(Path(folder)))],
            artifacts={
                "model": str(result.root / result.model),
                "transform": str(result.root / TRANSFORM),
                "report": str(result.root / REPORT),
            },
            signature=signature(params),
            input_example=example.to_pandas(),
            conda_env=_environment(),
            mlflow_model=Model(run_id=run_id, model_id=model_id),
        )


def _environment() -> dict[str, object]:
    """What the model needs. MLflow would write the same, and warn that uv has installed no pip."""
    needs = [f"{name}=={_version(name)}" for name in REQUIREMENTS]
    python = f"python={platform.python_version()}"
    return {"channels": ["conda-forge"], "dependencies": [python, "pip", {"pip": needs}]}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # the stack's image has the same library as xgboost-cpu
        return version(f"{name}-cpu")


def signature(params: Params) -> ModelSignature:
    """The columns that the model takes and gives, for MLflow.

    Args:
        params: Says which columns there are.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    types = {"float": DataType.double, "int": DataType.long, "string": DataType.string}

    def spec(name: str) -> ColSpec:
        column = params.data.columns[name]
        # pandas has no missing integer: such a column arrives as floats.
        kind = "float" if column.type == "int" and column.nullable else column.type
        return ColSpec(types[kind], name, required=not column.nullable)

    outputs = Schema([ColSpec(DataType.double, name) for name in OUTPUTS])
    return ModelSignature(Schema([spec(name) for name in params.data.inputs]), outputs)


def score(bundle: Path, rows: pl.DataFrame) -> pl.DataFrame:
    """Asks a logged model for its predictions, with the code that was logged with it.

    A process of its own: in this one ``housing`` is the code of today, which may differ from the
    code that an older model was logged with.

    Args:
        bundle: Folder of the logged model.
        rows: Raw rows, at least one.

    Returns:
        `prediction`, `lower` and `upper` in dollars, one line a row.

    Raises:
        ModelError: The bundle cannot be loaded, or cannot predict these rows.
    """
    import polars as pl

    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        asked, answered = Path(folder) / "rows.parquet", Path(folder) / "answer.parquet"
        rows.write_parquet(asked)
        script = str(Path(__file__).with_name("score_worker.py"))
        # -P keeps the script's folder off the import path: its neighbours are modules too.
        command = [sys.executable, "-P", script, str(bundle), str(asked), str(answered)]
        done = _run(command)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ModelError(
                f"the logged model cannot predict: {last}",
                "compare the columns of data.columns with the model's signature in MLflow",
            )
        return pl.read_parquet(answered)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"the logged model gave no answer within {TIMEOUT} s", "look at the machine's load"
        ) from error


def _copy_code(folder: Path) -> Path:
    target = folder / PACKAGE.name
    for name in CODE:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / name, path)
    return target


def _ready_models(client: MlflowClient, run: Run) -> list[str]:
    """Ids of the models that were logged whole under a run, oldest first."""
    from mlflow.entities import LoggedModelStatus

    owner = f"source_run_id = '{run.info.run_id}'"
    found = client.search_logged_models([run.info.experiment_id], owner)
    whole = [model for model in found if model.status == LoggedModelStatus.READY]
    whole.sort(key=lambda model: (model.creation_timestamp, model.model_id))
    return [str(model.model_id) for model in whole]
