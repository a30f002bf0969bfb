"""Shows the dashboard inside the Airflow UI, to people who are logged in.

Every process of Airflow loads plugins, so that this file imports little but Airflow's base class:
the web application is made when the first request arrives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

from housing.orchestration.addresses import DASHBOARD

if TYPE_CHECKING:
    from fastapi import FastAPI

PREFIX = "/housing-dashboard"
"""Where the API server serves the page."""

EMPTY = "<p>There is no dashboard yet. Run the pipeline, or type <code>{command}</code>."

ICON = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' "
    "stroke='{color}' stroke-width='2' stroke-linecap='round'>"
    "<path d='M4 20V4M4 20h16M8 16v-4M12.5 16V8M17 16v-6'/></svg>"
)

Message = MutableMapping[str, Any]


class DashboardApp:
    """The page as an ASGI application."""

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answers one request."""
        await _application()(scope, receive, send)


class DashboardPlugin(AirflowPlugin):
    """A tab of the Airflow UI: the dashboard in a frame."""

    name = "housing_dashboard"
    fastapi_apps = [  # noqa: RUF012  # declared so by the base class
        {"name": "housing dashboard", "app": DashboardApp(), "url_prefix": PREFIX}
    ]
    external_views = [  # noqa: RUF012  # declared so by the base class
        {
            "name": "Housing",
            # Relative to the UI's base address, which may have a path of its own.
            "href": f"{PREFIX.removeprefix('/')}/",
            "url_route": DASHBOARD,
            "destination": "nav",
            "nav_top_level": True,
            "icon": ICON.format(color="%2352525b"),
            "icon_dark_mode": ICON.format(color="%23d4d4d8"),
        }
    ]


@cache
def _application() -> FastAPI:
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
    from airflow.api_fastapi.core_api.security import requires_access_view
    from fastapi import Depends, FastAPI
    from fastapi.responses import FileResponse, HTMLResponse, Response

    from housing.dashboard import page_file
    from housing.engine.errors import typeable
    from housing.settings import load_settings

    application = FastAPI(openapi_url=None)
    settings = load_settings()
    path = page_file(settings.root)
    empty = EMPTY.format(command=typeable("housing dashboard"))
    fresh = {"Cache-Control": "no-cache"}

    @application.get("/", dependencies=[Depends(requires_access_view(AccessView.WEBSITE))])
    def page() -> Response:
        if settings.workspace_kind == "isolated":  # no worker writes to this machine
            from housing.dashboard.update import kept  # mlflow takes two seconds

            text = kept(settings)
            return HTMLResponse(text or empty, 200 if text else 404, headers=fresh)
        if not path.exists():
            return HTMLResponse(empty, status_code=404)
        return FileResponse(path, media_type="text/html", headers=fresh)

    return application
