"""The model as MLflow serves it: raw columns in, price and interval out, nothing else needed.

The bundle holds the very bytes of the booster, the transform and the report, so their hashes can be
compared with ``dvc.lock``, and the code that reads them. It holds no pickle.
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from housing.domain.columns import Column
from housing.domain.config import Params
from housing.domain.config_rules import plain_name
from housing.errors import ModelError
from housing.mlops.tracking.digest import BUNDLE, seal
from housing.mlops.tracking.logged_rows import test_rows
from housing.mlops.tracking.result import REPORT, TRANSFORM, Result

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.models import ModelSignature

PACKAGE = Path(__file__).parents[2]
EXPLAINS = "domain/explanation.py"
"""File of this package by which a logged model explains its prices; older ones have none."""
CODE = (
    "__init__.py",
    "domain/__init__.py",
    "domain/appraiser.py",
    "domain/chunks.py",
    "domain/column_rules.py",
    "domain/columns.py",
    "domain/config.py",
    "domain/config_rules.py",
    "domain/coverage.py",
    "domain/data/__init__.py",
    "domain/data/schema.py",
    EXPLAINS,
    "domain/features.py",
    "domain/formulas.py",
    "domain/interval.py",
    "domain/metrics.py",
    "domain/model.py",
    "domain/nearest.py",
    "domain/neighbours.py",
    "domain/smooth.py",
    "domain/tables.py",
    "engine/__init__.py",
    "engine/errors.py",
    "errors.py",
)
"""Files of this package that `pyfunc_model.py` imports, directly or not."""
REQUIREMENTS = (
    "dataframely",
    "mlflow",
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "scipy",
    "xgboost",
)
COLUMNS = "columns.json"
"""Artifact of the model: its input columns with their rules, as in ``params.yaml``."""
OUTPUTS = ("prediction", "lower", "upper")
REASONS = "reasons"
EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Logged:
    """A model in MLflow.

    Attributes:
        model_id: Its id.
        digest: Stands for all its files, see `housing.mlops.tracking.digest`.
    """

    model_id: str
    digest: str


def log_model(client: MlflowClient, params: Params, result: Result, run: Run) -> Logged:
    """Logs the chosen model under the run, once.

    Args:
        client: An open MLflow.
        params: All of ``params.yaml``.
        result: The result in the workspace.
        run: Its run.
    """
    known = _ready_models(client, run)
    logged = known[0] if known else _log_new(client, params, result, run)
    _link(client, run.info.run_id, logged.model_id)
    return logged


def _log_new(client: MlflowClient, params: Params, result: Result, run: Run) -> Logged:
    from mlflow.entities import LoggedModelStatus

    # The names of models know no dot, unlike those of metrics.
    name = plain_name(result.candidate).replace(".", "_")
    model = client.create_logged_model(
        run.info.experiment_id, name=name, source_run_id=run.info.run_id
    )
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        bundle = Path(folder) / "bundle"
        digest = write_bundle(bundle, params, result, run.info.run_id, model.model_id)
        client.log_model_artifacts(model.model_id, str(bundle))
    client.set_logged_model_tags(model.model_id, {BUNDLE: digest})
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    first = _ready_models(client, run)[0]
    if first.model_id != model.model_id:  # two processes logged the same run
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
) -> str:
    """Writes the model as a folder that ``mlflow.pyfunc.load_model`` reads anywhere.

    Args:
        bundle: A folder that does not exist yet.
        params: Says which columns there are.
        result: The result in the workspace.
        run_id: The run to name in the bundle.
        model_id: The logged model to name in the bundle.

    Returns:
        Its digest.
    """
    import mlflow.pyfunc
    import polars as pl
    from mlflow.models import Model

    example = test_rows(result.root, params).select(params.data.inputs).head(EXAMPLE_ROWS)
    example = example.cast(dict.fromkeys(_optional_integers(params), pl.Float64))
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        columns = Path(folder) / COLUMNS
        columns.write_text(_columns(params), encoding="utf-8")
        mlflow.pyfunc.save_model(
            path=str(bundle),
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            code_paths=[str(_copy_code(Path(folder)))],
            artifacts={
                **{
                    name: str(_copy_file(result.root / path, Path(folder)))
                    for name, path in (
                        ("model", result.model),
                        ("transform", TRANSFORM),
                        ("report", REPORT),
                    )
                },
                "columns": str(columns),
            },
            signature=signature(params),
            input_example=example.to_pandas(),
            conda_env=_environment(),
            mlflow_model=Model(run_id=run_id, model_id=model_id),
        )
    return seal(bundle)


def read_columns(bundle: Path) -> dict[str, Column]:
    """The columns that a logged model takes, with their rules.

    Args:
        bundle: Folder of the logged model, whose files are proved.

    Raises:
        ModelError: Today's code cannot read them.
    """
    try:
        content = json.loads((bundle / "artifacts" / COLUMNS).read_text(encoding="utf-8"))
        return {name: Column.model_validate(rules) for name, rules in content.items()}
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the columns of the logged model cannot be read: {error}",
            "housing run logs a model that this code can read",
        ) from error


def _columns(params: Params) -> str:
    named = {name: params.data.columns[name] for name in params.data.inputs}
    return json.dumps({name: column.model_dump(mode="json") for name, column in named.items()})


def _copy_file(path: Path, folder: Path) -> Path:
    """A plain copy: MLflow refuses a symlink, and DVC makes one with ``cache.type symlink``."""
    return Path(shutil.copyfile(path, folder / path.name))


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

    types = {
        "float": DataType.double,
        "int": DataType.long,
        "string": DataType.string,
        "bool": DataType.boolean,
        "date": DataType.datetime,
    }
    floats = _optional_integers(params)

    def spec(name: str) -> ColSpec:
        column = params.data.columns[name]
        kind = "float" if name in floats else column.type
        return ColSpec(types[kind], name, required=not column.nullable)

    # A row that breaks a rule has reasons, and no price.
    outputs = Schema(
        [
            *(ColSpec(DataType.double, name, required=False) for name in OUTPUTS),
            ColSpec(DataType.string, REASONS, required=False),
        ]
    )
    return ModelSignature(Schema([spec(name) for name in params.data.inputs]), outputs)


def _optional_integers(params: Params) -> list[str]:
    """Input columns of integers that may be missing: pandas has none, so they arrive as floats."""
    columns = params.data.columns
    return [n for n in params.data.inputs if columns[n].type == "int" and columns[n].nullable]


def _copy_code(folder: Path) -> Path:
    target = folder / PACKAGE.name
    for name in CODE:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / name, path)
    return target


def _ready_models(client: MlflowClient, run: Run) -> list[Logged]:
    """The models that were logged whole under a run, with their digests, oldest first."""
    from mlflow.entities import LoggedModelStatus

    owner = f"source_run_id = '{run.info.run_id}'"
    found = client.search_logged_models([run.info.experiment_id], owner)
    ready = [
        model for model in found if model.status == LoggedModelStatus.READY and BUNDLE in model.tags
    ]
    ready.sort(key=lambda model: (model.creation_timestamp, model.model_id))
    return [Logged(str(model.model_id), model.tags[BUNDLE]) for model in ready]
