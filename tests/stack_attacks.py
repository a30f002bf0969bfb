"""What somebody on the same machine may try against the stack, and what must be refused."""

from __future__ import annotations

import json

import httpx

from tests.stack_services import LONG_STAGE, MODEL, ROOT, SCHEDULER, Stack, check, say, until

SERVING = "pyfunc_model.py"
"""The file of a logged model whose code runs when the model is loaded."""
MARK = "/workspace/taken-over"
CODE = f"open({MARK!r}, 'w').close()\n"
SCORING = "/dags/housing_batch_scoring/dagRuns"


def mlflow_is_closed(stack: Stack, promoted: tuple[str, str]) -> None:
    """Nobody reads or changes a model, or moves an alias, without a password."""
    say("attacking MLflow without its password")
    version, run = promoted
    artifact = f"{logged_model(stack, run)}/{SERVING}"
    before = stack.mlflow.get(artifact).raise_for_status().content
    alias = {"name": MODEL, "alias": "staging", "version": version}
    for who, login in (("nobody", None), ("a guess", ("admin", "password1234"))):
        with httpx.Client(timeout=60, auth=login) as attacker:
            answers = {
                "overwrite an artifact": attacker.put(artifact, content=CODE),
                "read an artifact": attacker.get(artifact),
                "move the alias": attacker.post(
                    f"{stack.mlflow_url}/mlflow/registered-models/alias", json=alias
                ),
                "delete the alias": attacker.request(
                    "DELETE", f"{stack.mlflow_url}/mlflow/registered-models/alias", json=alias
                ),
                "list the runs": attacker.post(
                    f"{stack.mlflow_url}/mlflow/runs/search", json={"experiment_ids": ["1"]}
                ),
                "create a user": attacker.post(
                    f"{stack.mlflow_url}/mlflow/users/create",
                    json={"username": "eve", "password": "password1234"},
                ),
            }
        for what, answer in answers.items():
            code = answer.status_code
            check(code == httpx.codes.UNAUTHORIZED, f"{who} cannot {what}: {code}")
    check(stack.promoted() == promoted, "the alias is where it was")
    check(stack.mlflow.get(artifact).content == before, f"{SERVING} is what it was")
    _tasks_are_no_admin(stack)


def _tasks_are_no_admin(stack: Stack) -> None:
    """What the login of the tasks may not do: make users, or take the admin's place."""
    eve = {"username": "eve", "password": "password1234"}
    calls = {
        "create a user": ("POST", "create", eve),
        "become an admin": ("PATCH", "update-admin", {"username": "tasks", "is_admin": True}),
        "set the admin's password": ("PATCH", "update-password", eve | {"username": "admin"}),
    }
    login = ("tasks", stack.password["MLFLOW_TASKS_PASSWORD"])
    with httpx.Client(timeout=60, auth=login) as tasks:
        for what, (method, call, content) in calls.items():
            url = f"{stack.mlflow_url}/mlflow/users/{call}"
            code = tasks.request(method, url, json=content).status_code
            check(code == httpx.codes.FORBIDDEN, f"the tasks' login cannot {what}: {code}")


def logged_model(stack: Stack, run: str) -> str:
    """The address of the files of a run's logged model."""
    found = stack.mlflow.get("/runs/get", params={"run_id": run}).raise_for_status().json()
    tags = {tag["key"]: tag["value"] for tag in found["run"]["data"]["tags"]}
    path = f"/logged-models/{tags['housing.model_id']}"
    info = stack.mlflow.get(path).raise_for_status().json()["model"]["info"]
    return files_at(stack, info["artifact_uri"])


def files_at(stack: Stack, uri: str) -> str:
    """The address by which MLflow hands the files of an artifact URI through."""
    root = uri.removeprefix("mlflow-artifacts:").lstrip("/")
    return f"{stack.mlflow_url}/mlflow-artifacts/artifacts/{root}"


def changed_model_is_refused(stack: Stack, promoted: tuple[str, str]) -> None:
    """Who has MLflow's password changes the code of the champion: nothing runs it."""
    say("changing a logged model with MLflow's password")
    version, run = promoted
    stack.inside(SCHEDULER, "housing", "champion", version, "--why", "it was judged")
    artifact = f"{logged_model(stack, run)}/{SERVING}"
    whole = stack.mlflow.get(artifact).raise_for_status().content
    stack.mlflow.put(artifact, content=CODE.encode() + whole).raise_for_status()
    rows = (ROOT / "data/landing/california_housing.csv").read_text().splitlines(keepends=True)
    stack.write(SCHEDULER, "/workspace/data/scoring/houses.csv", "".join(rows[:101]))
    _champion_is_refused(stack, version)
    _scoring_fails(stack)
    _gate_rejects(stack, run)
    seen = stack.inside(SCHEDULER, "sh", "-c", f"ls {MARK} 2>&1; true")
    check("No such file" in seen, "nothing ran the changed code")
    say("putting the file back")
    stack.mlflow.put(artifact, content=whole).raise_for_status()
    tasks = stack.run()
    check(tasks["promote_to_staging"] == "success", "the gate passes the model again")
    scored = stack.airflow.call("POST", SCORING, {"logical_date": None})["dag_run_id"]
    until(lambda: _state(stack, scored) in {"success", "failed"}, "the scoring ends")
    check(_state(stack, scored) == "success", "the file is priced")
    _set_limit(stack, 50000)


def _champion_is_refused(stack: Stack, version: str) -> None:
    try:
        stack.inside(SCHEDULER, "housing", "champion", version, "--why", "once more")
    except AssertionError as error:
        check(f"{SERVING} was changed" in str(error), f"`housing champion` names {SERVING}")
    else:
        raise AssertionError("a changed model was made champion")


def _scoring_fails(stack: Stack) -> None:
    """The run that the file began by itself fails, and so does this one."""
    ours = stack.airflow.call("POST", SCORING, {"logical_date": None})["dag_run_id"]
    until(lambda: _state(stack, ours) in {"success", "failed"}, "the scoring ends")
    check(_state(stack, ours) == "failed", "scoring fails")
    path = f"{SCORING}/{ours}/taskInstances/score_file"
    log = stack.airflow.call("GET", f"{path}/logs/1?full_content=true&map_index=0")
    check(f"{SERVING} was changed" in json.dumps(log), f"its log names {SERVING}")


def _state(stack: Stack, run: str) -> str:
    return str(stack.airflow.call("GET", f"{SCORING}/{run}")["state"])


def _set_limit(stack: Stack, dollars: int) -> None:
    change = f"s/max_rmse: 5000[01] /max_rmse: {dollars} /"
    stack.inside(SCHEDULER, "sed", "-i", change, "/workspace/params.yaml")


def _gate_rejects(stack: Stack, run: str) -> None:
    """Under a limit of its own, the gate judges once more the model that is live."""
    _set_limit(stack, 50001)
    judged = stack.airflow.trigger()
    stack.airflow.wait(judged, 1200)
    tasks = stack.airflow.tasks(judged)
    check(tasks["promote_to_staging"] == "upstream_failed", "the gate does not promote it")
    check(tasks["send_failure_alert"] == "success", "the gate tells people")
    info = stack.mlflow.get("/runs/get", params={"run_id": run}).raise_for_status().json()
    verdict = f"{files_at(stack, info['run']['info']['artifact_uri'])}/gate/verdict.json"
    text = stack.mlflow.get(verdict).raise_for_status().text
    check(f"{SERVING} of the model" in text, f"its verdict names {SERVING}")


def stage_has_no_key(stack: Stack) -> None:
    """The command of the stage that runs sees no key of Airflow and no password of a database."""
    script = (
        "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | "
        "grep -q '^python stages/train_model.py' && cat $p/environ; done"
    )
    seen = stack.inside(SCHEDULER, "sh", "-c", f"{script}; true")
    check("HOUSING_ROOT" in seen, f"this is the environment of {LONG_STAGE}'s command")
    known = {name for name, value in stack.password.items() if value in seen}
    check(known <= {"MLFLOW_TASKS_PASSWORD"}, f"it holds no key but its own login: {sorted(known)}")
