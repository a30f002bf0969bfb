"""What Airflow's Helm chart asks of the image."""

from __future__ import annotations

from tests.stack_services import SCHEDULER, Stack, check, say

JOB = "AIRFLOW__LOGGING__LOGGING_LEVEL=ERROR exec /entrypoint airflow jobs check --local --job-type"
PROBE = f"CONNECTION_CHECK_MAX_COUNT=0 {JOB} SchedulerJob"
EXECUTOR = "airflow.providers.cncf.kubernetes.executors.kubernetes_executor"


def fits_the_chart(stack: Stack) -> None:
    """Its probes, its log groomer and its executor find what they need."""
    say("what Airflow's Helm chart asks of the image")
    found = stack.inside(SCHEDULER, "sh", "-c", PROBE)
    check("Found one alive job" in found, "the scheduler's probe")
    stack.inside(SCHEDULER, "bash", "/clean-logs", "once")
    say("  ok: the log groomer")
    stack.inside(SCHEDULER, "/entrypoint", "python", "-c", f"import {EXECUTOR}")
    say("  ok: the Kubernetes executor")
