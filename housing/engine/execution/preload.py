"""What DVC imports only when it runs a stage, imported at once.

A process that forks others imports ``housing.engine.execution.stage_run``, and with it this: no
child pays for these imports then. None of these starts a thread.
"""

# ruff: noqa: F401 - imported to be there
from __future__ import annotations

import configobj
import dulwich.client
import dulwich.ignore
import dulwich.worktree
import dvc.cachemgr
import dvc.data_cloud
import dvc.dirs
import dvc.repo.artifacts
import dvc.repo.datasets
import dvc.repo.metrics
import dvc.repo.params
import dvc.repo.plots
import dvc.repo.stage
import dvc.rwlock
import dvc.scm
import dvc.stage.cache
import dvc.stage.serialize
import dvc.utils.strictyaml
import dvc_data.hashfile.db.local
import dvc_data.hashfile.state
import dvc_data.hashfile.status
import fsspec.implementations.memory
import pyparsing
import ruamel.yaml
import scmrepo.git
