"""Which run told people that the gate rejected a result, so that it is told once."""

from __future__ import annotations

import hashlib
import json

from housing.domain.verdict import Verdict
from housing.mlops.tracking.connection import connected
from housing.settings import Settings

TOLD = "housing.told"
"""Tag of an MLflow run: the rejection that people were told last, and the run that told it."""


def told_before(settings: Settings, verdict: Verdict, by: str) -> str:
    """Says which earlier run told people of this very rejection, or notes that this one does.

    The result and the reasons are what counts: a rejection for another reason is told again. A
    second try of the same run tells again too, since the first may not have come so far.

    Args:
        settings: Where MLflow is.
        verdict: A rejection.
        by: The run that asks, and tells people where no other has.

    Returns:
        The run that told it before, or "".

    Raises:
        TrackingUnavailableError: MLflow does not answer.
    """
    reasons = [(check.name, check.sentence) for check in verdict.checks if not check.passed]
    content = json.dumps([verdict.result, reasons])
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    with connected(settings) as client:
        tag = client.get_run(verdict.run_id).data.tags.get(TOLD, "")
        known, _, teller = tag.partition(" ")
        if known == digest and teller != by:
            return teller
        client.set_tag(verdict.run_id, TOLD, f"{digest} {by}")
    return ""
