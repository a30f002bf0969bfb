"""What OpenLineage is told of a stage: its deps as inputs and its outs as outputs, by their hashes.

Airflow's provider for OpenLineage asks the operator where it is installed and has a transport, see
`housing.engine.airflow.operator.DvcStageOperator`. Names follow the naming conventions of
OpenLineage, so that data which DVC takes from S3 is the dataset that the job before it wrote, and
data that one DVC repository imports from another is one dataset in both.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from housing.engine.airflow.links import git_place, stage_address, web_address
from housing.engine.graph import StageNode

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    from housing.engine.execution.stage_result import DepResult, OutResult

CODE = frozenset({".c", ".ipynb", ".jl", ".js", ".pl", ".py", ".r", ".scala", ".sh", ".sql"})
"""Suffixes of deps that are source code, in lower case. DVC knows no difference between code and
data, but a lineage graph shows data: the code is told by its address in git."""

_BUCKETS = frozenset({"gs", "s3"})
"""Schemes of storage whose names do not start with a slash."""


class Naming:
    """Names the data of one DVC repository.

    Args:
        root: DVC's root folder, the project's also where a run works in a copy.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._place = git_place(root)

    def of(self, path: str, repo: str = "") -> tuple[str, str]:
        """Namespace and name of a dep or an out.

        Args:
            path: Relative to the root, absolute, or an address in remote storage.
            repo: The git repository that ``dvc import`` takes the path from.

        Returns:
            ``dvc://host/owner/name`` and the path in that git repository; ``file`` and the absolute
            path where git knows no remote on the web, or the file is outside the root; ``s3://bucket``
            and the key, and alike for other storage.
        """
        if repo:
            web = web_address(repo)
            return (_namespace(web) if web else repo, path)
        if "://" in path:
            return _in_storage(path)
        inside = os.path.normpath(path)
        if self._place and not inside.startswith(("/", "../")):
            return _namespace(self._place.web), str(self._place.folder / inside)
        return "file", os.path.normpath(self._root / inside)


def before(root: Path, stage: StageNode) -> OperatorLineage[Any, Any]:
    """What is known when the task starts: what it will read, of whatever version.

    Args:
        root: The project's folder.
        stage: The stage.
    """
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from openlineage.client.event_v2 import InputDataset

    naming = Naming(root)
    names = [naming.of(dep) for dep in _data(stage.deps)]
    inputs = [InputDataset(namespace, name) for namespace, name in names]
    return OperatorLineage(inputs=inputs, job_facets=_source(root, stage.file))


def after(
    root: Path, file: str, deps: Iterable[DepResult], outs: Iterable[OutResult]
) -> OperatorLineage[Any, Any]:
    """What a run read and left, also where it left the outs as they were.

    Args:
        root: The project's folder.
        file: The stage's ``dvc.yaml``, relative to the root.
        deps: What it read.
        outs: What it left.
    """
    from airflow.providers.openlineage.extractors.base import OperatorLineage

    naming = Naming(root)
    data = set(_data(dep.path for dep in deps))
    return OperatorLineage(
        inputs=[_input(naming, dep) for dep in deps if dep.path in data],
        outputs=[_output(naming, out) for out in outs],
        job_facets=_source(root, file),
    )


def _input(naming: Naming, dep: DepResult) -> InputDataset:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import dataset_version_dataset

    namespace, name = naming.of(dep.path, dep.repo)
    version = dataset_version_dataset.DatasetVersionDatasetFacet(dep.version)
    return InputDataset(namespace, name, facets={"version": version} if dep.version else {})


def _output(naming: Naming, out: OutResult) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import (
        dataset_version_dataset,
        output_statistics_output_dataset,
    )

    namespace, name = naming.of(out.path)
    version = dataset_version_dataset.DatasetVersionDatasetFacet(out.md5)
    size = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(size=out.size)
    return OutputDataset(
        namespace,
        name,
        facets={"version": version} if out.md5 else {},
        outputFacets={"outputStatistics": size},
    )


def _source(root: Path, file: str) -> dict[str, object]:
    """Where the definition of the stage can be read, at the revision that ran."""
    from openlineage.client.facet_v2 import source_code_location_job

    place = git_place(root)
    if place is None:
        return {}
    location = source_code_location_job.SourceCodeLocationJobFacet(
        type="git",
        url=stage_address(root, file),
        repoUrl=place.web,
        path=str(place.folder / file),
        version=place.revision,
    )
    return {"sourceCodeLocation": location}


def _data(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if PurePosixPath(path).suffix.lower() not in CODE]


def _namespace(web: str) -> str:
    return f"dvc://{web.partition('://')[2]}"


def _in_storage(address: str) -> tuple[str, str]:
    """Namespace and name of an address, without the login that it may hold."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    path = parts.path.lstrip("/") if parts.scheme in _BUCKETS else parts.path
    return f"{parts.scheme}://{host}", path
