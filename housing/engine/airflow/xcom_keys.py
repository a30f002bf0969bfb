"""Keys under which tasks leave what a later task reads."""

from __future__ import annotations

ERROR = "error"
"""The message of a task that failed."""

VERDICT = "verdict"
"""The gate's verdict, see `housing.domain.gate.Verdict`."""

REFUSED = "refused"
"""Reasons why files cannot be priced, by the files' names: those that nobody was told yet."""

ASKED = "asked"
"""The versions that a question to a person is about, by their side: version and champion."""
