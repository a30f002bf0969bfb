"""Migrates MLflow's users, and sees to the two that the stack needs: its admin and its tasks.

MLflow reads a configured password only where it has no admin yet; here those in `.env` count, also
after a change. ``MLFLOW_AUTH_CONFIG_PATH`` names the config with the database.
"""

from __future__ import annotations

import os

from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

TASKS = "tasks"
"""Who the tasks are: they manage experiments and models, but neither users nor anything else."""


def main() -> None:
    """Creates the users, or sets the passwords anew where they are others."""
    config = read_auth_config()
    store = SqlAlchemyStore()
    store.init_db(config.database_uri)  # type: ignore[no-untyped-call]  # MLflow's
    admin = config.admin_username or "admin"  # as MLflow
    _ensure(store, admin, os.environ["MLFLOW_ADMIN_PASSWORD"], is_admin=True)
    _ensure(store, TASKS, os.environ["MLFLOW_TASKS_PASSWORD"], is_admin=False)
    # Of every name, also of those that the admin's login made before there was this one.
    for kind in ("experiment", "registered_model"):
        store.grant_user_permission(TASKS, kind, "*", "MANAGE")


def _ensure(store: SqlAlchemyStore, name: str, password: str, *, is_admin: bool) -> None:
    if not store.has_user(name):
        store.create_user(name, password, is_admin=is_admin)
    elif not store.authenticate_user(name, password):
        store.update_user(name, password=password)


if __name__ == "__main__":
    main()
