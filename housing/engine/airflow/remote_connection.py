"""The login of DVC's default remote, from an Airflow connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import Connection

from housing.engine.airflow.compat import AirflowNotFoundException
from housing.engine.errors import OptionsError

if TYPE_CHECKING:
    from housing.engine.execution.remote_login import RemoteLogin


def login_of(conn_id: str) -> RemoteLogin | None:
    """Asks Airflow for a connection, which masks its password in the task's log.

    Args:
        conn_id: Its id; "" for none: the worker has the credentials itself.

    Raises:
        OptionsError: Airflow has no such connection.
    """
    if not conn_id:
        return None
    from housing.engine.execution.remote_login import RemoteLogin  # DVC is too heavy for a DAG file

    try:
        found = Connection.get(conn_id)
    except AirflowNotFoundException as error:
        raise OptionsError(
            f"DVC's remote gets its login from the connection {conn_id}, and Airflow has none of "
            "that name",
            f"airflow connections add {conn_id} --conn-type aws --conn-login KEY "
            "--conn-password SECRET",
        ) from error
    return RemoteLogin(
        f"the connection {conn_id}", found.login or "", found.password or "", found.extra_dejson
    )
