"""The 16-branch pipeline of `workers_site`: its DAG file, its stages, its params."""

from __future__ import annotations

WIDTH = 16
DAG = """# airflow: it looks only into files with that word
from datetime import UTC, datetime, timedelta
from pathlib import Path
from housing.engine import DvcDag

dag = DvcDag(
    "pipe", root=Path(__file__).parent.parent, workspace="isolated", schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    default_args={"retries": 3, "retry_delay": timedelta(seconds=1)},
)
"""
COUNT = "echo {} >>$HOUSING_WORKSPACES/../ran && "
DVC_YAML = f"""
stages:
  prepare:
    cmd: {COUNT.format("prepare")}mkdir -p parts && for n in $(seq {WIDTH});
      do cat in.txt >parts/$n; done
    deps: [in.txt]
    outs: [parts]
    metrics:
      - note.json:
          cache: false
  branch:
    foreach: [{", ".join(map(str, range(1, WIDTH + 1)))}]
    do:
      cmd: {COUNT.format("branch${item}")}sleep ${{pause}} &&
        (cat parts/${{item}}; grep level params.yaml) >models/${{item}}
      deps:
        - parts
      params: [level]
      outs:
        - models/${{item}}
  slow:
    cmd: {COUNT.format("slow")}sleep 6 && cat in.txt >slow.txt
    deps: [in.txt]
    outs: [slow.txt]
  join:
    cmd: {COUNT.format("join")}cat models/* slow.txt note.json >all.txt
    deps: [models, slow.txt, note.json]
    outs: [all.txt]
""".replace("; done\n", "; done && echo 1 >note.json\n")
PARAMS = "level: 1\npause: 1\n"
STAGES = ["prepare", *(f"branch{n}" for n in range(1, WIDTH + 1)), "slow", "join"]


def files(remote: str) -> dict[str, str]:
    """The files of the repository by their paths.

    Args:
        remote: DVC's config.
    """
    return {
        ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
        ".dvc/config": remote,
        ".gitignore": "/parts\n/note.json\n/slow.txt\n/all.txt\n",
        "models/.gitignore": "".join(f"/{n}\n" for n in range(1, WIDTH + 1)),
        "dags/pipe.py": DAG,
        "dvc.yaml": DVC_YAML,
        "in.txt": "first\n",
        "params.yaml": PARAMS,
    }
