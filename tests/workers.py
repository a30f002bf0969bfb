"""Two Celery workers that share nothing but Redis, an S3 server and a git repository.

Usage: ``make workers-test [PARTS="PART ..."]``, by default all parts but ``figures`` and ``costs``.
It needs Linux, root (for ``unshare``) and Debian's packages ``redis-server`` and ``postgresql``,
and takes some 15 minutes. Each worker lives in its own mount and process-id namespace, where the
path of its folders is bound to its own; so the same path holds something else for each. The short
form, in the suite, is ``test_airflow_isolated.py``.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter

from tests.workers_figures import costs, figures
from tests.workers_houses import DAG, Houses
from tests.workers_parts import wait
from tests.workers_pipeline import STAGES, WIDTH
from tests.workers_pipeline import files as pipeline_files
from tests.workers_site import Site, site


def check(claim: str, true: object) -> None:
    """Says what holds; ends where it does not."""
    print(f"{'ok  ' if true else 'NOT '} {claim}", flush=True)
    if not true:
        raise SystemExit(1)


def total(site: Site) -> Counter[str]:
    """How often each command ran."""
    return Counter(stage for stages in site.ran().values() for stage in stages)


def cold_then_unchanged(site: Site) -> None:
    """Every stage once, on both workers; then none, although both are empty."""
    site.forget()
    site.change("in.txt", "cold\n")
    before = site.pipe.head()
    seconds = site.finish(site.trigger())
    once = total(site) == Counter(STAGES)
    check(f"cold run ({seconds:.0f} s): each of {len(STAGES)} stages ran once", once)
    check(f"on both workers: {[len(v) for v in site.ran().values()]}", all(site.ran().values()))
    check("its dvc.lock is a commit of the branch", site.pipe.head() != before)
    site.settle()
    site.forget()
    asked = site.requests()
    run = site.trigger()
    seconds = site.finish(run)
    check(f"second run ({seconds:.0f} s): nothing ran on the emptied workers", not total(site))
    fetched = sum(site.result(run, stage)["fetched"] for stage in ("prepare", "slow", "join"))
    check(f"no byte was fetched, {(site.requests() - asked).total()} requests to S3", fetched == 0)
    third = site.pipe.clone("pulled")
    # `note.json` is `cache: false`, which DVC's own pull leaves out.
    subprocess.run(["dvc", "pull", "--quiet"], cwd=third, env=site.env, check=False)
    expected = "cold\nlevel: 1\n" * WIDTH + "cold\n1\n"
    check("git clone && dvc pull brings it", (third / "all.txt").read_text() == expected)


def worker_dies(site: Site) -> None:
    """The worker of the slow stage is gone, with its disk; Airflow gives the stage to the other.

    Meanwhile somebody else moves the branch.
    """
    site.forget()
    site.change("in.txt", "second\n")
    run = site.trigger()
    victim = wait(
        "the slow stage", lambda: next((n for n, s in site.ran().items() if "slow" in s), "")
    )
    site.kill_worker(victim)
    site.start_worker(victim)
    site.pipe.change("README.md", "moved\n")
    moved = site.pipe.head()
    seconds = site.finish(run)
    check(f"worker {victim} died in a stage: the run ended well ({seconds:.0f} s)", True)
    check("the slow stage ran again, elsewhere or anew", total(site)["slow"] == 1)
    (out,) = site.result(run, "slow")["outs"]
    check("with the right content", out["size"] == len("second\n"))
    check("its dvc.lock is on top of what moved the branch", site.pipe.parent() == moved)


def remote_away(site: Site) -> None:
    """S3 turns everybody away for 20 s in the middle of a run, and at its end git does."""
    site.settle()
    site.forget()
    site.change("in.txt", "third\n")
    run = site.trigger()
    wait("the first stage", lambda: total(site)["prepare"])
    site.gate.open = False
    time.sleep(20)
    site.gate.open = True
    wait("the last stage", lambda: total(site)["join"])
    with site.pipe.away():
        wait("the write-back", lambda: site.state(run, "write_back") == "running")
        time.sleep(20)
    seconds = site.finish(run)
    once = total(site) == Counter(STAGES)
    check(f"S3 away for 20 s: the run ended well ({seconds:.0f} s), each stage ran once", once)
    told = site.pipe.message()
    check("git away for 20 s: its dvc.lock is a commit of the branch", run in told)


def no_credentials(site: Site) -> None:
    """One worker has no credentials for S3: the message says which, and what to type there."""
    site.forget()
    site.change("in.txt", "fourth\n")
    for name in ("one", "two"):
        site.kill_worker(name)
    site.start_worker("two", credentials=False)
    run = site.trigger()
    site.finish(run, state="failed")
    said = site.xcom(run, "prepare", "error")
    check("a worker without credentials is named", "lets two in by no credentials" in said)
    login = "on two: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for its tasks"
    check("with what it lacks", login in said)
    dag = pipeline_files("")["dags/pipe.py"]
    site.add_connection("lake", "aws", "test", "test")
    given = dag.replace('"pipe", ', '"pipe", operator_args={"remote_conn_id": "lake"}, ')
    site.change("dags/pipe.py", given)
    site.finish(site.trigger())
    check("on the same worker a run with an Airflow connection ends well", True)
    check("and restores what ran before", total(site) == Counter(STAGES))
    site.kill_worker("two")
    for name in ("one", "two"):
        site.start_worker(name)
    site.change("dags/pipe.py", dag)


def overrides_at_once(site: Site) -> None:
    """Two runs with other parameters, at the same time."""
    site.settle()
    site.forget()
    head = site.pipe.head()
    runs = [site.trigger(dvc_overrides=[f"level={n}"]) for n in (7, 88)]
    for run in runs:
        site.finish(run)
    outs = [site.result(run, "join")["outs"][0] for run in runs]
    sizes = {outs[1]["size"] - outs[0]["size"]}
    check("two runs with overrides at once: two results", sizes == {WIDTH})
    counts = {total(site)[f"branch{n}"] for n in range(1, WIDTH + 1)}
    check("each branch ran once for each", counts == {2})
    check("and wrote nothing back", site.pipe.head() == head)


def the_real_pipeline(site: Site, houses: Houses) -> None:
    """House prices: each stage once, judged, promoted, written back; then nothing; reproduced."""
    houses.wait()
    site.forget()
    before = houses.repository.head()
    run = site.trigger(DAG)
    seconds = site.finish(run, DAG)
    records = houses.stages(run)
    ran = {record["state"] for record in records.values()}
    check(f"cold run ({seconds:.0f} s): each of {len(records)} stages ran", ran == {"ran"})
    hosts = {record["host"] for record in records.values()}
    check(f"on {' and '.join(sorted(hosts))}", len(hosts) == 2)
    check("the gate passed it, and staging is version 1", houses.staging() == "1")
    check("its dvc.lock is a commit of the branch", houses.repository.head() != before)
    check("the API server shows the dashboard", "v1" in houses.page())
    check("batch scoring says why it is refused", "housing predict FILE" in houses.refused())
    houses.wait()
    site.forget()
    run = site.trigger(DAG)
    seconds = site.finish(run, DAG)
    records = houses.stages(run)
    moved = sum(record["fetched"] + record["pushed"] for record in records.values())
    check(f"second run ({seconds:.0f} s), on emptied workers: no byte for stages", moved == 0)
    states = {record["state"] for record in records.values()}
    check("nothing ran", states == {"unchanged"})
    check("nothing was judged anew", houses.states(run)["promote_to_staging"] == "skipped")
    priced = houses.price("june.csv")
    check(f"{priced['scored']:,} rows of an object are priced into S3", priced["bytes"])
    code, told = houses.reproduce("1")
    check("housing reproduce 1 brings all that made it into an empty folder", code == 0)
    check("at a commit of the branch", told["git_revision"] == before)


def _end(*_: object) -> None:
    """Ends everything once: uv passes on the signal that the whole group got already."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def main() -> None:
    """Runs everything, or the parts that are named."""
    signal.signal(signal.SIGTERM, _end)
    parts = {
        part.__name__: part
        for part in (
            cold_then_unchanged,
            worker_dies,
            remote_away,
            overrides_at_once,
            no_credentials,
            figures,
            costs,
        )
    }
    measured = {figures.__name__, costs.__name__}
    proofs = [name for name in parts if name not in measured]
    wanted = sys.argv[1:] or [*proofs, the_real_pipeline.__name__]
    with site() as made:
        houses = Houses(made)
        made.start(houses.make)
        for name in wanted:
            print(name.replace("_", " "), flush=True)
            if name in parts:
                parts[name](made)
                made.settle()
            else:
                the_real_pipeline(made, houses)
    print("all of it held")


if __name__ == "__main__":
    main()
    sys.exit(0)
