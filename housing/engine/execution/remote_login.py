"""Credentials of DVC's default remote that do not come from the worker's own environment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc.config import Config
from dvc.config_schema import REMOTE_SCHEMAS

_log = logging.getLogger("housing.engine.execution")

_USER_AND_PASSWORD = {
    "s3": ("access_key_id", "secret_access_key"),
    "azure": ("account_name", "account_key"),
}
"""DVC's options for them, by the scheme of the remote; ``user`` and ``password`` elsewhere."""

_OTHER_NAMES = {
    "endpoint_url": "endpointurl",
    "region_name": "region",
    "aws_session_token": "session_token",
    "profile_name": "profile",
    "key_path": "credentialpath",
    "key_file": "keyfile",
}
"""What Airflow's connections call an option of DVC."""


@dataclass(frozen=True, slots=True)
class RemoteLogin:
    """A login, held in memory only: no file of the workspace gets it.

    Attributes:
        source: Where it comes from, for messages.
        user: Name, or id of a key.
        password: Password, or secret of the key.
        extras: Further options, as DVC or as Airflow's connections name them.
    """

    source: str
    user: str
    password: str = field(repr=False)
    extras: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def settings(self, root: Path) -> dict[str, Any]:
        """DVC's config with it, for the default remote; empty where there is none.

        Args:
            root: DVC's root folder.
        """
        known = Config(str(root / ".dvc"))
        name = known["core"].get("remote")
        if not name or name not in known["remote"]:
            return {}
        url = str(known["remote"][name].get("url", ""))
        scheme = url.partition("://")[0]
        user, password = _USER_AND_PASSWORD.get(scheme, ("user", "password"))
        given = {_OTHER_NAMES.get(name, name): value for name, value in self.extras.items()}
        given |= {name: v for name, v in ((user, self.user), (password, self.password)) if v}
        schema: Any = REMOTE_SCHEMAS.get(scheme, {})
        options = {str(option) for option in schema}
        unknown = ", ".join(sorted(set(given) - options))
        if unknown:
            _log.warning("%s: DVC knows no such options of %s: %s", self.source, url, unknown)
        return {"remote": {name: {key: given[key] for key in set(given) & options}}}
