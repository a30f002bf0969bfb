"""Asks Airflow's own web application, with our plugin in it, for the dashboard.

A process of its own: Airflow reads its settings when it is imported. Prints JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from airflow import settings
from airflow.api_fastapi.app import create_auth_manager, init_plugins
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.revoked_token import RevokedToken
from airflow.plugins_manager import get_plugin_info
from fastapi import FastAPI
from fastapi.testclient import TestClient


def main(page: Path) -> None:
    engine = settings.get_engine()  # type: ignore[no-untyped-call]  # Airflow's own
    RevokedToken.metadata.tables["revoked_token"].create(engine)
    app = FastAPI()
    init_plugins(app)
    app.state.auth_manager = manager = create_auth_manager()
    browser = TestClient(app)
    token = manager.generate_jwt(SimpleAuthManagerUser(username="viewer", role="viewer"))
    views = [view for plugin in get_plugin_info() for view in plugin["external_views"]]
    address = f"/{views[0]['href']}"
    stranger = browser.get(address)
    login = {"Authorization": f"Bearer {token}"}
    missing = browser.get(address, headers=login)
    page.parent.mkdir(parents=True)
    page.write_text("<p>the page", encoding="utf-8")
    found = browser.get(address, headers=login)
    answers = {"stranger": stranger, "missing": missing, "found": found}
    seen = {name: [answer.status_code, answer.text] for name, answer in answers.items()}
    json.dump({"views": views, **seen}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
