"""Exits with 0 where the URL answers with a 2xx status, and the part asked for is healthy.

``healthy.py URL [PART]``, PART a key of ``/api/v2/monitor/health``. It takes 0.1 s;
``airflow jobs check`` takes 5 s of a core, each time.
"""

from __future__ import annotations

import json
import sys
from urllib.error import URLError
from urllib.request import urlopen

try:
    with urlopen(sys.argv[1], timeout=8) as answer:  # noqa: S310 - the URL is the compose file's
        states = [json.load(answer)[part]["status"] for part in sys.argv[2:]]
except URLError as error:
    sys.exit(str(error))
sys.exit(f"{states}" if set(states) - {"healthy"} else 0)
