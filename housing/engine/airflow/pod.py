"""What a stage needs of a machine, as the pod that Airflow's Kubernetes executor starts for it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from kubernetes.client.models import V1Container, V1Pod

GPU = "nvidia.com/gpu"
"""Kubernetes' name of a GPU, as NVIDIA's device plugin offers it."""

_CONTAINER = "base"
"""Airflow's name of the container, in the pod of a task, that runs the task."""


class Resources(BaseModel):
    """The key ``resources`` of ``meta.airflow``.

    Attributes:
        cpu: Cores; a part of one is allowed.
        memory: Bytes, or a number with a unit of Kubernetes: ``512Mi``, ``8Gi``, ``1.5G``.
        gpu: Whole GPUs of NVIDIA.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    cpu: float | None = Field(default=None, gt=0)
    memory: str | None = Field(default=None, pattern=r"^\d+(\.\d+)?([kMGTPE]|[KMGTPE]i)?$")
    gpu: int | None = Field(default=None, ge=1)

    @property
    def quantities(self) -> dict[str, str]:
        """What is set, by Kubernetes' names."""
        cpu = None if self.cpu is None else f"{self.cpu:g}"
        gpu = None if self.gpu is None else str(self.gpu)
        found = {"cpu": cpu, "memory": self.memory, GPU: gpu}
        return {name: quantity for name, quantity in found.items() if quantity}


def executor_config(resources: Resources, given: Mapping[str, Any]) -> dict[str, Any]:
    """The argument ``executor_config`` of a task whose pod gets these resources.

    They are requested, and are the limit: Kubernetes starts the pod only where they are free, and
    evicts such pods last.

    Args:
        resources: What the stage needs.
        given: The ``executor_config`` that it would have without; its pod keeps all else.

    Returns:
        The same where Kubernetes' client is not installed, and so no executor would look at it.
    """
    if not resources.quantities or find_spec("kubernetes") is None:
        return dict(given)
    from kubernetes.client import models as k8s  # 0.5 s and more: for the stages that ask for it

    pod = deepcopy(given.get("pod_override")) or k8s.V1Pod(metadata=k8s.V1ObjectMeta())
    container = _container(pod)
    known = container.resources or k8s.V1ResourceRequirements()
    container.resources = k8s.V1ResourceRequirements(
        claims=known.claims,
        limits={**(known.limits or {}), **resources.quantities},
        requests={**(known.requests or {}), **resources.quantities},
    )
    return {**given, "pod_override": pod}


def _container(pod: V1Pod) -> V1Container:
    """The container of the task, which is made where the pod says nothing of it."""
    from kubernetes.client import models as k8s

    if pod.spec is None:
        pod.spec = k8s.V1PodSpec(containers=[])
    for container in pod.spec.containers:
        if container.name == _CONTAINER:
            return container
    container = k8s.V1Container(name=_CONTAINER)
    pod.spec.containers = [*pod.spec.containers, container]
    return container
