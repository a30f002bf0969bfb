"""The files in ``deploy/kubernetes`` against the models of Kubernetes and of Airflow."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from kubernetes import client

FOLDER = Path(__file__).parents[1] / "deploy/kubernetes"


def read(name: str) -> Any:  # noqa: ANN401 - YAML
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def unknown_keys(given: Any, kind: str, path: str = "") -> list[str]:  # noqa: ANN401 - YAML
    """Keys that a model of Kubernetes does not have, down to its last part."""
    many = re.fullmatch(r"(?i:list)\[(\w+)\]", kind)
    if many:
        return [k for row in given for k in unknown_keys(row, many[1], path)]
    model = getattr(client, kind, None)
    if model is None:
        return []
    names = {key: attribute for attribute, key in model.attribute_map.items()}
    return [
        found
        for key, value in given.items()
        for found in (
            unknown_keys(value, model.openapi_types[names[key]], f"{path}.{key}")
            if key in names
            else [f"{path}.{key}"]
        )
    ]


def test_the_pod_template_is_a_pod() -> None:
    given = read("pod-template.yaml")
    assert unknown_keys(given, "V1Pod") == []
    with client.ApiClient() as api:
        answer = SimpleNamespace(data=json.dumps(given))
        pod: Any = api.deserialize(answer, "V1Pod")
    (container,) = pod.spec.containers
    assert container.name == "base"  # the name by which Airflow finds the task's container
    mounts = {mount.name: mount.mount_path for mount in container.volume_mounts}
    assert mounts.keys() == {volume.name for volume in pod.spec.volumes}
    variables = {variable.name: variable.value for variable in container.env}
    assert variables["HOUSING_WORKSPACES"] == mounts["workspaces"]


def test_a_stage_finds_what_the_chart_gives_its_own_pods() -> None:
    """The chart takes the template as it is: settings, connections and keys are added by nobody."""
    values, pod = read("values.yaml"), read("pod-template.yaml")
    (container,) = pod["spec"]["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    config = volumes[mounts[f"{values['airflowHome']}/airflow.cfg"]]
    assert config["configMap"]["name"] == '{{ include "airflow_config" . }}'
    given = {variable["name"]: variable for variable in container["env"]}
    for variable in values["env"]:
        assert given[variable["name"]] == variable
    for secret in values["secret"]:
        reference = given[secret["envName"]]["valueFrom"]["secretKeyRef"]
        assert reference == {"name": secret["secretName"], "key": secret["secretKey"]}
    assert container["envFrom"] == yaml.safe_load(values["extraEnvFrom"])


def test_the_values_are_for_this_airflow_and_this_image() -> None:
    values = read("values.yaml")
    assert values["airflowVersion"] == version("apache-airflow")
    assert (
        f"AIRFLOW_HOME={values['airflowHome']} " in (FOLDER.parents[1] / "Dockerfile").read_text()
    )


def test_a_wrong_key_of_a_pod_is_seen() -> None:
    given = read("pod-template.yaml")
    given["spec"]["containers"][0]["volumeMount"] = []
    assert unknown_keys(given, "V1Pod") == [".spec.containers.volumeMount"]


def test_the_values_name_secrets_and_hold_none() -> None:
    given = read("values.yaml")
    assert given["executor"] == "KubernetesExecutor"
    text = (FOLDER / "values.yaml").read_text(encoding="utf-8")
    assert not re.search(r"(?i)(password|fernetKey|jwtSecret|accessKey):", text)
    (secret,) = given["secret"]
    assert secret.keys() == {"envName", "secretName", "secretKey"}
    (bundle,) = given["dagProcessor"]["dagBundleConfigList"]
    assert secret["envName"] == f"AIRFLOW_CONN_{bundle['kwargs']['git_conn_id'].upper()}"


def test_the_settings_are_airflows_own() -> None:
    from airflow.configuration import conf

    for section, options in read("values.yaml")["config"].items():
        for option in options:
            assert conf.has_option(section, option), f"{section}.{option}"
    base = importlib.import_module("airflow.dag_processing.bundles.base").BaseDagBundle
    assert "refresh_interval" in inspect.signature(base.__init__).parameters
