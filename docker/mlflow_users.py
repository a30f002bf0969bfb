"""Migrates MLflow's users and gives its admin the password in ``MLFLOW_ADMIN_PASSWORD``.

MLflow reads a configured password only where it has no admin yet; here the one in `.env` counts,
also after a change. ``MLFLOW_AUTH_CONFIG_PATH`` names the config with the database.
"""

from __future__ import annotations

import os

from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore


def main() -> None:
    """Creates the admin, or sets the password anew where it is another one."""
    config, password = read_auth_config(), os.environ["MLFLOW_ADMIN_PASSWORD"]
    name = config.admin_username or "admin"  # as MLflow
    store = SqlAlchemyStore()
    store.init_db(config.database_uri)  # type: ignore[no-untyped-call]  # MLflow's
    if not store.has_user(name):
        store.create_user(name, password, is_admin=True)
    elif not store.authenticate_user(name, password):
        store.update_user(name, password=password)


if __name__ == "__main__":
    main()
