#!/usr/bin/env bash
# The stack's one-shot start: every other service waits until it has ended well. It starts as root
# to hand over the volumes and goes on as the user of the other services.
set -euo pipefail

project=/opt/housing # the project's files as the image holds them
workspace=/workspace
uid=${HOUSING_UID:-50000}

warn() { echo "warning: $*" >&2; }

check_machine() {
  local memory cores disk
  memory=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
  cores=$(nproc)
  disk=$(df --output=avail -m "$workspace" | tail -n 1)
  ((memory >= 4000)) || warn "$memory MB of memory: give Docker at least 4 GB"
  ((cores >= 2)) || warn "$cores core: give Docker at least 2"
  ((disk >= 10000)) || warn "$disk MB of disk space: keep at least 10 GB free"
}

hand_over() {
  local volume
  for volume in "$workspace" /remote /airflow/logs /mlflow; do
    # A checkout that is mounted as the workspace belongs to its user already.
    [ -e "$volume/.git" ] || [ "$(stat -c %u "$volume")" = "$uid" ] || chown -R "$uid:0" "$volume"
  done
}

# The image's files replace those in the workspace; data, outs, dvc.lock and the cache stay.
sync_workspace() {
  local path
  if [ -e "$workspace/.git" ]; then
    echo "the workspace is a checkout: its files are used as they are"
    return
  fi
  for path in dags housing stages .dvcignore dvc.yaml params.yaml; do
    [ -e "$project/$path" ] || continue
    diff -rq -x __pycache__ "$project/$path" "$workspace/$path" >/dev/null 2>&1 && continue
    echo "updating $path"
    rm -rf "$workspace/.new" && cp -R "$project/$path" "$workspace/.new"
    rm -rf "$workspace/.old" && { mv "$workspace/$path" "$workspace/.old" 2>/dev/null || true; }
    mv "$workspace/.new" "$workspace/$path" && rm -rf "$workspace/.old"
  done
  # The first delivery comes with the image; deliveries that arrived since stay.
  mkdir -p "$workspace/data/landing" "$workspace/.dvc"
  cp -R --update=none "$project/data/landing/." "$workspace/data/landing/" 2>/dev/null ||
    cp -Rn "$project/data/landing/." "$workspace/data/landing/"
  cp "$project/.dvc/config" "$workspace/.dvc/config"
  # There is no Git in here: what ran is the image's revision.
  dvc config --quiet --local core.no_scm true
}

# By standard input: a password among the arguments could be seen by `ps`.
create_admin() {
  local answers="$AIRFLOW_ADMIN_PASSWORD"$'\n'"$AIRFLOW_ADMIN_PASSWORD" said
  said=$(airflow users create --username admin --role Admin --firstname Stack --lastname Admin \
    --email admin@localhost <<<"$answers" 2>/dev/null)
  # The password in .env counts, also after a change.
  [[ $said != *"already exists"* ]] || airflow users reset-password --username admin \
    <<<"$answers" >/dev/null 2>&1
}

if [ "$(id -u)" = 0 ]; then
  check_machine
  hand_over
  exec setpriv --reuid="$uid" --regid=0 --clear-groups "$BASH" "$0"
fi

export AIRFLOW__LOGGING__LOGGING_LEVEL=WARNING
cd "$workspace"
sync_workspace
dvc remote add --quiet --local --force --default stack /remote
airflow db migrate
create_admin
PGPASSWORD=$MLFLOW_DB_PASSWORD python -m mlflow db upgrade postgresql+psycopg://mlflow@postgres/mlflow
