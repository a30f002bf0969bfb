#!/usr/bin/env bash
# Removes old task logs, again and again: the log groomer that Airflow's Helm chart puts beside a
# service, with the chart's variables. `maintenance` calls it with `once`.
set -euo pipefail
logs=${AIRFLOW_HOME:-/airflow}/logs

# A folder that was emptied an hour ago goes, too; a new one is about to get its first log.
clean() {
  find "$logs" -type f -mtime +"${AIRFLOW__LOG_RETENTION_DAYS:-15}" -delete
  find "$logs" -mindepth 1 -type d -empty -mmin +60 -delete
}

while true; do
  # Several groomers may meet on one volume, and what one has removed is an error to the other.
  clean || echo "warning: not every old log in $logs could be removed" >&2
  [ "${1:-}" != once ] || exit 0
  sleep $((${AIRFLOW__LOG_CLEANUP_FREQUENCY_MINUTES:-15} * 60))
done
