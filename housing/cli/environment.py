"""The environment of the processes that this command line starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def child_environment(**given: str) -> dict[str, str]:
    """This environment with what a child needs besides.

    Args:
        given: More variables.
    """
    # The stages' commands find the Python that runs this, as in an activated environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, **no_proxy(os.environ), "PATH": path, **given}


def no_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep requests to this machine away from a proxy.

    Both spellings are in use, and most clients prefer the small one.

    Args:
        environment: May name hosts already, in either spelling.
    """
    named = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in named.split(",") if host.strip()]
    value = ",".join([*hosts, *(host for host in LOOPBACK if host not in hosts)])
    return {"no_proxy": value, "NO_PROXY": value}
