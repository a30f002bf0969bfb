#!/usr/bin/env bash
# As the entrypoint of Airflow's own image, which the probes of its Helm chart call: runs `bash` and
# `python` as they are, and everything else as a command of Airflow, whether it begins with `airflow`
# or not. Services here need no such thing: their commands are whole.
set -euo pipefail
case ${1:-} in
  airflow | bash | python) exec "$@" ;;
  *) exec airflow "$@" ;;
esac
