#!/usr/bin/env bash
# Removes what is older than HOUSING_KEEP_DAYS: runs in Airflow's database, and task logs.
set -euo pipefail
days=${HOUSING_KEEP_DAYS:-60}
airflow db clean --yes --skip-archive --clean-before-timestamp "$(date -u -d "-$days days" +%FT%T+00:00)"
AIRFLOW__LOG_RETENTION_DAYS=$days bash /opt/housing/docker/clean_logs.sh once
