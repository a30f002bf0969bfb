"""Exits with 0 where this container's Celery worker answers a ping of the broker.

``celery inspect ping`` does the same with Airflow's app, whose import takes 3 s of a processor.
"""

from __future__ import annotations

import os
import socket
import sys

from celery import Celery

app = Celery(broker=os.environ["AIRFLOW__CELERY__BROKER_URL"])
name = f"celery@{socket.gethostname()}"
answers = app.control.ping(destination=[name], timeout=10, limit=1)
sys.exit(0 if answers else f"{name} does not answer")
