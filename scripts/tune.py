"""Proposes settings for a candidate: ``make tune`` or ``make tune CANDIDATE=xgboost TRIALS=50``.

Optuna looks for the settings with the lowest RMSE, as the mean over three cuts of the rows that the
pipeline does not test on: the test rows say nothing to it. Each cut learns from some of these rows
and compares by the others. No learning rate is looked for: a low one wins a little, by many more
trees to train and to score. A trial that is worse than half of the others after a cut is pruned.
The trials stand in ``.housing/tune.db``, so that a stopped search goes on where it was, and in
MLflow as child runs of one run. Other rows are another search.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import optuna
import polars as pl
import yaml
from optuna.trial import TrialState

from housing.domain.config import CandidateParams, Params, load_params
from housing.domain.features import Transform, label
from housing.domain.split import row_ids, sides
from housing.domain.tables import Table
from housing.domain.training import stop_early
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.tracked_run import experiment_id
from housing.settings import Settings, load_settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

CUTS = 3
HOUSES = Path("data/interim/houses.parquet")
TEST = Path("data/features/test.parquet")
STORE = Path(".housing/tune.db")
STUDY = "housing.tune.study"
TRIAL = "housing.tune.trial"


@dataclass(frozen=True)
class Cut:
    """Rows to learn from, rows to compare by, and what made their features."""

    train: Table
    validation: Table
    transform: Transform


def main(rows: Callable[[Path, Params], pl.DataFrame]) -> None:
    """Runs the search and prints what it proposes.

    Args:
        rows: Reads the rows to learn from and to compare by, from the project's folder.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("candidate", nargs="?", default="neighbours")
    parser.add_argument("--trials", type=int, default=30, help="trials in all")
    arguments = parser.parse_args()
    settings = load_settings()
    params = load_params(settings.root / "params.yaml")
    if arguments.candidate not in params.train:
        parser.error(f"params.yaml has no candidate {arguments.candidate!r} under train")
    if params.train[arguments.candidate].booster != "gbtree":
        parser.error(f"{arguments.candidate!r} has no trees, whose settings are looked for")
    houses = rows(settings.root, params)
    study = search(settings, params, arguments.candidate, arguments.trials, houses)
    print(f"mean RMSE on validation ${study.best_value:,.0f}, trial {study.best_trial.number}")
    print(f"under train.{arguments.candidate} in params.yaml:")
    print(yaml.safe_dump(study.best_params, sort_keys=False))


def untested(root: Path, params: Params) -> pl.DataFrame:
    """The rows that the pipeline does not test on."""
    houses = pl.read_parquet(root / HOUSES)
    tested = pl.read_parquet(root / TEST, columns=["_row"])["_row"]
    return houses.filter(~row_ids(houses, params.data.identity).is_in(tested.implode()))


def search(
    settings: Settings, params: Params, candidate: str, trials: int, houses: pl.DataFrame
) -> optuna.Study:
    """Makes the trials that are still missing.

    Args:
        settings: Where the project and MLflow are.
        params: All of ``params.yaml``.
        candidate: Whose settings are looked for.
        trials: Number of trials in all, with those of earlier searches.
        houses: Rows to learn from and to compare by.
    """
    store = settings.root / STORE
    store.parent.mkdir(exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{store}",
        study_name=_name(candidate, houses),
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=params.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )
    current = params.train[candidate]
    if not study.trials:  # what is there is the first to beat
        study.enqueue_trial({name: getattr(current, name) for name in _space()})
    found = list(cuts(houses, params, range(params.seed + 1, params.seed + 1 + CUTS)))
    with connected(settings) as client:
        parent = _parent(client, settings, study.study_name)
        for _ in range(trials - sum(trial.state.is_finished() for trial in study.trials)):
            trial = study.ask(_space())
            value = _mean_rmse(trial, current.model_copy(update=trial.params), found, params.seed)
            state = TrialState.PRUNED if value is None else TrialState.COMPLETE
            _log(client, parent, study.tell(trial, value, state))
    return study


def _space() -> dict[str, optuna.distributions.BaseDistribution]:
    real, whole = optuna.distributions.FloatDistribution, optuna.distributions.IntDistribution
    return {
        "max_depth": whole(4, 9),
        "min_child_weight": real(1, 40, log=True),
        "subsample": real(0.5, 1.0),
        "colsample_bytree": real(0.1, 0.6),
        "reg_lambda": real(1, 200, log=True),
    }


def _mean_rmse(
    trial: optuna.Trial, tried: CandidateParams, cuts: list[Cut], seed: int
) -> float | None:
    """The mean over the cuts, in dollars, or None where the trial was pruned after one of them."""
    errors: list[float] = []
    for cut in cuts:
        done = stop_early(tried, cut.train, cut.validation, seed, cut.transform)
        errors.append(done.curve[done.best_iteration].validation_rmse)
        trial.report(mean(errors), len(errors))
        if len(errors) < len(cuts) and trial.should_prune():
            return None
    return mean(errors)


def cuts(houses: pl.DataFrame, params: Params, seeds: Iterable[int]) -> Iterator[Cut]:
    """Cuts rows anew for each seed: what a pipeline of this seed would test on is compared by."""
    ids = row_ids(houses, params.data.identity)
    for seed in seeds:
        compared = sides(ids, seed, params.split) == "test"
        transform = Transform.fit(houses.filter(~compared), params)
        learn, compare = (
            Table(label(rows, ids.filter(part), transform.apply(rows), params.data))
            for part in (~compared, compared)
            for rows in [houses.filter(part)]
        )
        yield Cut(learn, compare, transform)


def _name(candidate: str, houses: pl.DataFrame) -> str:
    """Names a study, which goes on only with the same settings to look for on the same rows."""
    rows = blake2b(houses.write_csv().encode(), digest_size=8).hexdigest()
    return " ".join([candidate, *_space(), rows])


def _parent(client: MlflowClient, settings: Settings, study: str) -> tuple[str, str]:
    """The experiment and the run that the trials belong to; made where there is none."""
    experiment = experiment_id(client, f"{settings.experiment}-tuning", settings.artifact_location)
    known = client.search_runs([experiment], f"tags.`{STUDY}` = '{study}'")
    if known:
        return experiment, known[0].info.run_id
    run = client.create_run(experiment, tags={STUDY: study}, run_name=study.split(maxsplit=1)[0])
    client.set_terminated(run.info.run_id)
    return experiment, run.info.run_id


def _log(client: MlflowClient, parent: tuple[str, str], trial: optuna.trial.FrozenTrial) -> None:
    from mlflow.entities import Metric, Param

    tags = {"mlflow.parentRunId": parent[1], TRIAL: str(trial.number)}
    run = client.create_run(parent[0], tags=tags, run_name=f"trial {trial.number}")
    metrics = [
        Metric("validation_rmse", value, run.info.start_time, step)
        for step, value in trial.intermediate_values.items()
    ]
    chosen = [Param(name, str(value)) for name, value in trial.params.items()]
    client.log_batch(run.info.run_id, metrics, [*chosen, Param("state", trial.state.name)])
    client.set_terminated(run.info.run_id)


if __name__ == "__main__":
    main(untested)
