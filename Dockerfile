# One image for every service of the stack: see docs/stack.md.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS wanted
WORKDIR /wanted
COPY pyproject.toml uv.lock ./
# A change of a linter's settings, which follow, builds no dependency anew.
RUN sed -i '/^\[tool\.ruff\]$/,$d' pyproject.toml

FROM ${PYTHON_IMAGE} AS build
ENV UV_PROJECT_ENVIRONMENT=/opt/venv UV_PYTHON=python3 UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1
RUN pip install --no-cache-dir --root-user-action=ignore uv==0.13.9
# The project is installed as editable, from the folder where a container mounts the workspace: the
# code that DVC hashes there is the code that runs. It needs no code now, so a change of the code
# leaves this layer as it is.
WORKDIR /workspace
COPY --from=wanted /wanted ./
ARG EXTRAS=""
# xgboost-cpu, of the extra `stack`, stands in xgboost's place. Each extra is a word of its own.
# hadolint ignore=SC2046
RUN mkdir housing && touch housing/__init__.py README.md LICENSE \
    && uv sync --frozen --no-dev --no-install-package xgboost \
        $(printf -- '--extra %s ' stack celery ${EXTRAS})
COPY docker/slim.sh /tmp/
RUN sh /tmp/slim.sh /opt/venv

FROM ${PYTHON_IMAGE}
ARG EXTRAS=""
# The Git bundle calls git, which calls ssh for a repository that is reached so.
# hadolint ignore=DL3008
RUN case " ${EXTRAS} " in *" git "*) \
        apt-get update && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
        && rm -rf /var/lib/apt/lists/* ;; \
    esac
ARG HOUSING_UID=50000
# Group 0 owns what is written, so that any user id will do (HOUSING_UID in .env).
RUN useradd --uid ${HOUSING_UID} --gid 0 --create-home --home-dir /home/housing housing \
    && mkdir -p /airflow/logs /git /workspace /workspaces /remote /mlflow \
    && chown -R ${HOUSING_UID}:0 /airflow /git /workspace /workspaces /remote /mlflow /home/housing \
    && chmod -R g=u /airflow /git /workspace /workspaces /remote /mlflow /home/housing
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH VIRTUAL_ENV=/opt/venv HOME=/home/housing USER=housing \
    AIRFLOW_HOME=/airflow PYTHONUNBUFFERED=1 GIT_PYTHON_REFRESH=quiet
# Nobody installs anything in here.
RUN python3 -m pip uninstall --yes --quiet --root-user-action=ignore pip setuptools wheel \
    || rm -rf /usr/lib/python3/dist-packages/pip /usr/lib/python3/dist-packages/setuptools
COPY . /opt/housing
# Where the probes and the log groomers of Airflow's Helm chart look for them.
RUN ln -s /opt/housing/docker/entrypoint.sh /entrypoint \
    && ln -s /opt/housing/docker/clean_logs.sh /clean-logs
# Names this image's content: docker/init.sh and docker/graceful.py compare it with the workspace's.
# The names of the files must be relative, and the shell is dash, which has no pipefail.
# hadolint ignore=DL3003,DL4006
RUN cd /opt/housing && find . -type f -print0 | sort -z | xargs -0 sha256sum \
    | sha256sum >/opt/housing.sha256
ARG REVISION=""
ENV HOUSING_GIT_REVISION=${REVISION}
LABEL org.opencontainers.image.title="housing" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision=${REVISION}
WORKDIR /workspace
USER ${HOUSING_UID}:0
CMD ["airflow", "version"]
