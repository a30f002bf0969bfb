"""What somebody on the same machine may try against the stack, and what must be refused."""

from __future__ import annotations

import httpx

from tests.stack_services import LONG_STAGE, MODEL, SCHEDULER, Stack, check, say

CODE = "raise SystemExit('taken over')"


def mlflow_is_closed(stack: Stack, promoted: tuple[str, str]) -> None:
    """Nobody reads or changes a model, or moves an alias, without a password."""
    say("attacking MLflow without its password")
    version, run = promoted
    source = {"run_id": run, "path": "reports"}
    listing = stack.mlflow.get("/artifacts/list", params=source).raise_for_status().json()
    root = listing["root_uri"].split("mlflow-artifacts:/", 1)[1].lstrip("/")
    artifact = f"{stack.mlflow_url}/mlflow-artifacts/artifacts/{root}/serving.py"
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


def stages_have_no_key(stack: Stack) -> None:
    """A stage's command sees no key of Airflow and no password of a database."""
    say("looking at the environment of a running stage")
    run = stack.in_the_middle()
    script = (
        "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | "
        "grep -q '^python stages/train_model.py' && cat $p/environ; done"
    )
    seen = stack.inside(SCHEDULER, "sh", "-c", f"{script}; true")
    check("HOUSING_ROOT" in seen, f"this is the environment of {LONG_STAGE}'s command")
    known = {name for name, value in stack.password.items() if value in seen}
    check(known <= {"MLFLOW_ADMIN_PASSWORD"}, f"it holds no key but MLflow's: {sorted(known)}")
    stack.ends_well(run)
