#!/usr/bin/env bash
# The stack's one-shot start: every other service waits until it has ended well. It starts as root
# to hand over the volumes and goes on as the user of the other services.
set -euo pipefail

project=${HOUSING_PROJECT:-/opt/housing} # the project's files as the image holds them
workspace=${HOUSING_ROOT:-/workspace}
uid=${HOUSING_UID:-50000}
# graceful.py, around every process that runs stages, holds the first for as long as it lives, and
# compares the second with its own image.
lock=$workspace/.dvc/tmp/stack.lock
stamp=$workspace/.dvc/tmp/stack.image

warn() { echo "warning: $*" >&2; }

die() {
  echo "error: $1" >&2
  echo "  next: $2" >&2
  exit 1
}

check_settings() {
  local name profile=""
  [[ $uid =~ ^[1-9][0-9]*$ ]] ||
    die "HOUSING_UID=$uid: stages run as a user that is not root, named by a number" \
      "set HOUSING_UID in .env to your \`id -u\`, or remove it; then make stack"
  for name in celery workers; do
    [[ ,${COMPOSE_PROFILES:-}, != *,$name,* ]] || profile+=$name
  done
  case ${AIRFLOW__CORE__EXECUTOR:-LocalExecutor},$profile,${HOUSING_WORKSPACE_KIND:-shared} in
    LocalExecutor,,shared | CeleryExecutor,celery,shared | CeleryExecutor,workers,isolated) ;;
    *)
      die "AIRFLOW_EXECUTOR=${AIRFLOW__CORE__EXECUTOR:-}, COMPOSE_PROFILES=${COMPOSE_PROFILES:-} and HOUSING_WORKSPACE_KIND=${HOUSING_WORKSPACE_KIND:-} do not fit" \
        "put AIRFLOW_EXECUTOR=CeleryExecutor into .env with COMPOSE_PROFILES=celery, or with COMPOSE_PROFILES=workers and HOUSING_WORKSPACE_KIND=isolated, or none of the three; then make stack"
      ;;
  esac
}

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
  if [ -e "$workspace/.git" ] && ! setpriv --reuid="$uid" --regid=0 --clear-groups test -w "$workspace/.dvc"; then
    die "the workspace is a checkout of user $(stat -c %u "$workspace"), and HOUSING_UID=$uid may not write there" \
      "set HOUSING_UID in .env to the number of its owner, who must not be root; then make stack"
  fi
  for volume in "$workspace" /remote /airflow/logs /mlflow; do
    # A checkout that is mounted as the workspace belongs to its user already.
    [ ! -e "$volume/.git" ] && [ "$(stat -c %u "$volume")" != "$uid" ] || continue
    [ ! -e "$lock" ] || flock --exclusive --nonblock "$lock" true ||
      die "HOUSING_UID=$uid, and a scheduler or worker of user $(stat -c %u "$volume") still runs" \
        "make stack-down, which ends running stages cleanly, then make stack: they are tried again"
    chown -R "$uid:0" "$volume"
  done
}

# True where no scheduler or worker runs. New code under a running stage would be recorded as the code
# that made its outs, so only the same image may be prepared beside one: there is nothing to do then.
claim_workspace() {
  mkdir -p "$workspace/.dvc/tmp"
  exec 9>>"$lock"
  flock --exclusive --nonblock 9 && return
  [ "$(cat "$stamp" 2>/dev/null)" = "$(cat "$project.sha256")" ] ||
    die "this is another image, and a scheduler or worker of the old one still runs" \
      "make stack-down, which ends running stages cleanly, then make stack: they are tried again"
  return 1
}

# The image's files replace those in the workspace; data, outs, dvc.lock and the cache stay.
sync_workspace() {
  local path
  if [ -e "$workspace/.git" ]; then
    echo "the workspace is a checkout: its files are used as they are"
    return
  fi
  for path in dags housing plugins stages .dvcignore dvc.yaml params.yaml; do
    [ -e "$project/$path" ] || continue
    diff -rq -x __pycache__ "$project/$path" "$workspace/$path" >/dev/null 2>&1 && continue
    echo "updating $path"
    rm -rf "$workspace/.new" && cp -R "$project/$path" "$workspace/.new"
    rm -rf "$workspace/.old" && { mv "$workspace/$path" "$workspace/.old" 2>/dev/null || true; }
    mv "$workspace/.new" "$workspace/$path" && rm -rf "$workspace/.old"
  done
  # The first delivery comes with the image; deliveries that arrived since stay.
  mkdir -p "$workspace/data/landing" "$workspace/data/scoring" "$workspace/.dvc"
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

migrate() {
  airflow db migrate
  PGPASSWORD=$MLFLOW_DB_PASSWORD python -m mlflow db upgrade \
    postgresql+psycopg://mlflow@postgres/mlflow
}

check_settings
if [ "$(id -u)" = 0 ]; then
  check_machine
  hand_over
  exec setpriv --reuid="$uid" --regid=0 --clear-groups "$BASH" "$0"
fi

export AIRFLOW__LOGGING__LOGGING_LEVEL=WARNING
cd "$workspace"
if claim_workspace; then
  rm -f "$stamp"
  sync_workspace
  migrate
  cp "$project.sha256" "$stamp.new" && mv "$stamp.new" "$stamp"
fi
mkdir -p /mlflow/.tmp
create_admin
PGPASSWORD=$MLFLOW_DB_PASSWORD MLFLOW_AUTH_CONFIG_PATH=$project/docker/mlflow.ini \
  python "$project/docker/mlflow_users.py"
