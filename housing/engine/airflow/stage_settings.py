"""What one stage needs of Airflow, as its ``meta.airflow`` in ``dvc.yaml`` says it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from housing.engine.airflow import compat
from housing.engine.airflow.pod import Resources, executor_config
from housing.engine.errors import GraphError
from housing.engine.graph import StageNode

SECONDS = ("retry_delay", "execution_timeout")
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class StageSettings(BaseModel):
    """The keys that ``meta.airflow`` may have: arguments of the stage's task.

    Attributes:
        env: Variables that the stage's command gets in addition, of any name. They are in git, so
            no secret may be among them, and DVC does not know them: a changed one runs nothing
            anew, and a plain ``dvc repro`` does not set them. So they are for what the machine
            needs (``OMP_NUM_THREADS``), not for what shapes an out.
        resources: What the pod of the stage gets, where Airflow's Kubernetes executor runs it.
        queue: Queue of the Celery workers that may run the stage.
        pool: Airflow's pool, which limits how many stages in it run at once.
        pool_slots: Slots of the pool that the stage takes.
        priority_weight: Of two stages that wait for a slot, the higher one starts first.
        executor: Name of the executor, where Airflow has several.
        retries: How often a failed stage is tried again.
        retry_delay: Seconds between two tries.
        retry_exponential_backoff: Factor by which the delay grows with each try; 0 for none.
            Airflow 3.1 knows no factor but 2.
        execution_timeout: Seconds after which the stage is ended as failed.
        max_active_tis_per_dag: How many runs of the DAG may run this stage at once.
        on_unchanged: State of the task where DVC finds the stage unchanged: ``skip`` ends it as
            skipped, ``succeed`` as success, for tasks after it that run after a success only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    queue: str | None = None
    pool: str | None = None
    pool_slots: int | None = Field(default=None, ge=1)
    priority_weight: int | None = None
    executor: str | None = None
    retries: int | None = Field(default=None, ge=0)
    retry_delay: float | None = Field(default=None, ge=0)
    retry_exponential_backoff: float | None = Field(default=None, ge=0)
    execution_timeout: float | None = Field(default=None, gt=0)
    max_active_tis_per_dag: int | None = Field(default=None, ge=1)
    env: dict[Variable, str] | None = None
    resources: Resources | None = None
    on_unchanged: Literal["skip", "succeed"] | None = None

    def operator_args(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """The keys that are set, as arguments of an operator.

        Args:
            common: The arguments of all stages: this one's ``env`` and ``resources`` add to them.
        """
        found = self.model_dump(exclude_none=True, exclude={"env", "resources"})
        if self.env is not None:
            found["env"] = {**(common.get("env") or {}), **self.env}
        if self.resources is not None:
            given = common.get("executor_config") or {}
            found["executor_config"] = executor_config(self.resources, given)
        found |= {key: timedelta(seconds=found[key]) for key in SECONDS if key in found}
        if self.retry_exponential_backoff is not None:
            factor = compat.retry_exponential_backoff(self.retry_exponential_backoff)
            found["retry_exponential_backoff"] = factor
        return found


def operator_args(
    stages: tuple[StageNode, ...], common: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The operator's arguments of each stage that has a ``meta.airflow``.

    Args:
        stages: The stages.
        common: The arguments of all stages, which a stage's own add to or replace.

    Returns:
        The stages' own arguments, by their names; one without ``meta.airflow`` is left out.

    Raises:
        GraphError: Keys or values are wrong; all of them are named with file and stage.
    """
    found: dict[str, dict[str, Any]] = {}
    faults: list[str] = []
    for stage in stages:
        given = stage.meta.get("airflow")
        if given is None:
            continue
        try:
            found[stage.name] = StageSettings.model_validate(given).operator_args(common)
        except ValidationError as error:
            faults += [
                f"{stage.file}, stage {stage.name}: "
                f"{'.'.join(map(str, ('meta', 'airflow', *fault['loc'])))}: {fault['msg']}, "
                f"got {fault['input']!r}"
                for fault in error.errors()
            ]
    if faults:
        raise GraphError(
            "\n".join(faults), f"the keys are: {', '.join(StageSettings.model_fields)}"
        )
    return found
