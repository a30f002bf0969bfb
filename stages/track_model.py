"""Stage track_model: records the result in MLflow as one run, found again by its content."""

from __future__ import annotations

from housing.domain.config import Params
from housing.engine.stage_notes import note_links
from housing.mlops.tracking.tracked_run import track
from housing.settings import RUN_LINK, load_settings
from housing.stage import run, say


def body(params: Params) -> None:
    """Makes sure that MLflow holds the result that stands in the workspace."""
    settings = load_settings()
    run_id = track(settings, params)
    address = settings.run_address(run_id)
    note_links({RUN_LINK: address})
    say(f"{RUN_LINK} {run_id} {address}".rstrip())


if __name__ == "__main__":
    run(body)
