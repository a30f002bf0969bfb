"""Keys under which the tasks of the house-price DAGs leave what a later task reads."""

from __future__ import annotations

VERDICT = "verdict"
"""The gate's verdict, see `housing.domain.verdict.Verdict`."""

TOLD_BY = "told_by"
"""The run that told people of a rejection before; it is told once."""

REFUSED = "refused"
"""Reasons why files cannot be priced, by the files' names: those that nobody was told yet."""

ASKED = "asked"
"""The versions that a question to a person is about, by their side: version and champion."""
