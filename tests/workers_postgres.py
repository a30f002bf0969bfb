"""The database of Airflow's metadata for `workers_site`: Debian's PostgreSQL, in a folder.

SQLite is too little here: one writer at a time, and a transaction that reads before it writes fails
at once with "database is locked" where another has written meanwhile, whatever its timeout.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import IO

USER = "postgres"
"""Debian's user for it: PostgreSQL refuses to run as root."""


class Postgres:
    """A server of one database, without a password.

    Args:
        folder: Where its files go; everybody may enter the folders above.
        port: Where it listens, on this machine only.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self.url = f"postgresql+psycopg://{USER}@127.0.0.1:{port}/{USER}"

    def start(self, log: IO[str]) -> subprocess.Popen[bytes]:
        """Makes the files and starts the server; see `is_ready`.

        Args:
            log: Where both write what they say.
        """
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
        if not found:
            raise SystemExit("no PostgreSQL here\n  next: apt-get install postgresql redis-server")
        self._folder.mkdir()
        shutil.chown(self._folder, USER)
        make = [str(found[-1] / "initdb"), "--auth=trust", "--no-sync", str(self._folder)]
        subprocess.run(make, user=USER, cwd="/", stdout=log, stderr=log, check=True)
        serve = [str(found[-1] / "postgres"), "-D", str(self._folder), "-p", str(self._port)]
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "300",
        }
        for name, value in settings.items():
            serve += ["-c", f"{name}={value}"]
        return subprocess.Popen(serve, user=USER, cwd="/", stdout=log, stderr=log)

    def written(self) -> int:
        """Rows that were inserted, updated or deleted so far."""
        counts = "tup_inserted + tup_updated + tup_deleted"
        query = f"SELECT {counts} FROM pg_stat_database WHERE datname = '{USER}'"
        place = ["--host=127.0.0.1", f"--port={self._port}", f"--username={USER}"]
        command = ["psql", *place, "--tuples-only", "--no-align", "--command", query]
        return int(subprocess.check_output(command, text=True))

    def is_ready(self) -> bool:
        """Whether it answers."""
        done = subprocess.run(
            ["pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self._port}"], check=False
        )
        return not done.returncode
