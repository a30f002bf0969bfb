"""What `workers_site` is made of: a port, patience, git repositories, a gate before a server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

LIMIT = 3600  # seconds for one run, on a machine that others use as well


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait(what: str, ready: Callable[[], Any], limit: float = LIMIT) -> Any:  # noqa: ANN401
    """Asks again and again until there is an answer."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError, KeyError, FileNotFoundError, OSError):
            found = ready()
            if found:
                return found
        time.sleep(0.5)
    raise SystemExit(f"waited {limit:g} s in vain: {what}")


class Gate:
    """A way to the S3 server that can be closed: who connects is turned away at once."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.open = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if not self.open:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while self.open and (data := source.recv(65536)):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                end.close()


class Repository:
    """A bare git repository, and the clone from which it is changed.

    Args:
        base: The folder of both.
        name: Its name.
    """

    def __init__(self, base: Path, name: str) -> None:
        self.base = base
        self.origin = base / f"{name}.git"
        self.seed = base / f"{name}-seed"

    def create(self) -> Path:
        """Makes it, empty; returns the clone."""
        git(self.base, "init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))
        git(self.base, "clone", "--quiet", str(self.origin), str(self.seed))
        return self.seed

    def push(self) -> None:
        """Commits all that is new in the clone."""
        git(self.seed, "add", "--all")
        git(self.seed, "commit", "--quiet", "--message", "change")
        git(self.seed, "push", "--quiet", "origin", "HEAD:main")

    def change(self, name: str, text: str) -> None:
        """Commits another content of a file, on top of the branch."""
        git(self.seed, "pull", "--quiet", "--rebase", "origin", "main")
        (self.seed / name).write_text(text)
        self.push()

    def clone(self, name: str) -> Path:
        """A new clone."""
        git(self.base, "clone", "--quiet", str(self.origin), name)
        return self.base / name

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Nobody finds the bare repository meanwhile."""
        aside = self.origin.with_suffix(".away")
        self.origin.rename(aside)
        try:
            yield
        finally:
            aside.rename(self.origin)

    def head(self) -> str:
        """The newest commit."""
        return git(self.origin, "rev-parse", "main")

    def parent(self) -> str:
        """The commit before the newest."""
        return git(self.origin, "rev-parse", "main~")

    def message(self) -> str:
        """What the newest commit says."""
        return git(self.origin, "log", "-1", "--format=%B", "main")


def git(folder: Path, *arguments: str) -> str:
    """Calls git; returns what it says."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    command = ["git", *who, *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()
