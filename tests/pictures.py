"""The pictures in the documentation: a story on the real services, and a browser that looks on.

``make up`` in a fresh clone, then ``uv run python -m tests.pictures`` before somebody answers the
first run's question. It waits for that, approves the first version, starts a run with nothing
to do, one that the gate rejects and one with a broken delivery, mends that, delivers more houses,
and takes back what came of them. It needs Chromium.

Usage: ``python -m tests.pictures [PROJECT] [FOLDER]``, by default this project and `PICTURES`; from
there, what the documentation shows goes to docs/images by hand.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import yaml
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from housing.cli.services import Site
from housing.dashboard import page_file
from housing.settings import load_settings
from tests.browser import chromium, resize, show

PIPELINE, CHAMPION, ROLLBACK = "housing_ml_pipeline", "housing_champion", "housing_rollback"
WORSE = "train.{}.n_estimators=20"
"""An override by which the gate rejects the result: the best candidate learns less."""
ROOT = Path(__file__).parents[1]
PICTURES = Path(".housing/pictures")
COLORS = 128
PATIENCE = 1800.0
"""Seconds for one run, or for a page of Airflow's, on a busy machine."""


class Story:
    """One project whose services run, and a browser that is logged in.

    Args:
        root: The project's folder.
        folder: Where pictures go.
        browser: Chromium.
    """

    def __init__(self, root: Path, folder: Path, browser: webdriver.Chrome) -> None:
        self.root = root
        self.folder = folder
        self.browser = browser
        site = Site.of(load_settings(root))
        passwords = root / ".airflow" / "passwords.json"
        self.password = json.loads(passwords.read_text(encoding="utf-8"))["admin"]
        self.url = site.airflow_url
        self.api = httpx.Client(base_url=self.url, trust_env=False, timeout=60)
        login = {"username": "admin", "password": self.password}
        token = self.api.post("/auth/token", json=login).raise_for_status().json()
        self.api.headers["Authorization"] = f"Bearer {token['access_token']}"

    def log_in(self) -> None:
        """Logs in as a person does; the graph of a DAG is drawn in a tab of its own."""
        self.browser.get(self.url)
        fields = self.find("input", 2)
        for field, text in zip(fields, ("admin", self.password), strict=False):
            field.send_keys(text)
        self.browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
        self.until(lambda: "/auth/login" not in self.browser.current_url)

    def find(self, selector: str, count: int = 1) -> list[Any]:
        """The elements, once there are so many."""
        self.until(lambda: len(self.browser.find_elements(By.CSS_SELECTOR, selector)) >= count)
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Waits for something on the page."""
        WebDriverWait(self.browser, seconds, ignored_exceptions=[WebDriverException]).until(
            lambda _: condition()
        )

    def has(self, *texts: str, seconds: float = PATIENCE) -> None:
        """Waits until the page shows all of these texts."""
        text = "return document.body.innerText"
        self.until(lambda: all(one in self.browser.execute_script(text) for one in texts), seconds)

    def press(self, name: str) -> None:
        """Presses the button with this text."""
        path = f"//button[normalize-space()='{name}']"
        self.until(lambda: bool(self.browser.find_elements(By.XPATH, path)))
        self.browser.find_elements(By.XPATH, path)[-1].click()

    def take(self, name: str) -> None:
        """Keeps what the browser shows now."""
        time.sleep(2)  # what moves comes to rest
        answer = self.browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        picture = Image.open(BytesIO(base64.b64decode(answer["data"]))).convert("RGB")
        # A palette makes the file a third as large, and nobody sees it.
        picture.quantize(COLORS).save(self.folder / f"{name}.png", optimize=True)
        sys.stdout.write(f"{name}.png\n")

    def see_run(self, name: str, run_id: str) -> None:
        """Pictures of a run: the grid beside its tasks, and the graph."""
        resize(self.browser, 1400, 800)
        self.browser.get(f"{self.url}/dags")  # what is set next is Airflow's, and no other page's
        for view in ("grid", "graph"):
            for key, value in (("default_dag_view", view), (f"direction-{PIPELINE}", "DOWN")):
                script = "localStorage.setItem(arguments[0], JSON.stringify(arguments[1]))"
                self.browser.execute_script(script, key, value)
            self.browser.get(f"{self.url}/dags/{PIPELINE}/runs/{run_id}")
            self.until(self.expanded)
            self.take(f"{view}-{name}")

    def expanded(self) -> bool:
        """Opens all groups of the DAG, and says whether they are: a press may come too early."""
        # The label is a key where Airflow draws the page before its translations have come.
        labels = ("Expand all task groups", "taskGroups.expandAll")
        # A real click would leave the button's tooltip on the picture.
        button = self.find(", ".join(f"[aria-label='{label}']" for label in labels))[0]
        self.browser.execute_script("arguments[0].click()", button)
        with suppress(TimeoutException):
            self.has("train_model@linear", seconds=60)
            return True
        return False

    def see_page(self, name: str, width: int = 1200, height: int = 1000) -> None:
        """The top of the dashboard as it stands in the project."""
        show(self.browser, page_file(self.root), width=width, height=height)
        self.take(name)

    def see_whole_page(self, name: str, width: int, scheme: str = "light") -> None:
        """All of the dashboard."""
        show(self.browser, page_file(self.root), width=width, scheme=scheme)
        height = self.browser.execute_script("return document.documentElement.scrollHeight")
        resize(self.browser, width, height)
        self.take(name)

    def run(self, dag: str, **conf: object) -> str:
        """Starts a run and waits for its end."""
        body = {"logical_date": None, "conf": conf}
        answer = self.api.post(f"/api/v2/dags/{dag}/dagRuns", json=body).raise_for_status()
        run_id = str(answer.json()["dag_run_id"])
        self.wait(lambda: self.ended(dag, run_id))
        return run_id

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """The runs of a DAG, newest first."""
        order = {"order_by": "-start_date", "limit": "50"}
        answer = self.api.get(f"/api/v2/dags/{dag}/dagRuns", params=order).raise_for_status()
        return list(answer.json()["dag_runs"])

    def ended(self, dag: str, run_id: str) -> bool:
        """Whether a run has ended."""
        answer = self.api.get(f"/api/v2/dags/{dag}/dagRuns/{run_id}").raise_for_status()
        return answer.json()["state"] in {"success", "failed"}

    def follow(self, dag: str, known: int) -> str:
        """Waits for the end of a run that something else has started."""
        self.wait(lambda: len(self.runs(dag)) > known)
        run_id = str(self.runs(dag)[0]["dag_run_id"])
        self.wait(lambda: self.ended(dag, run_id))
        return run_id

    def question(self) -> str:
        """Waits for a question to a person; its page."""
        self.wait(lambda: bool(self.questions()))
        task = self.questions()[0]["task_instance"]
        return f"/dags/{task['dag_id']}/runs/{task['dag_run_id']}/tasks/approve/required_actions"

    def questions(self) -> list[dict[str, Any]]:
        """The questions that nobody has answered."""
        asked = {"response_received": "false", "state": ("awaiting_input", "deferred")}
        path = f"/api/v2/dags/{CHAMPION}/dagRuns/~/hitlDetails"
        return list(self.api.get(path, params=asked).raise_for_status().json()["hitl_details"])

    def wait(self, condition: Callable[[], bool]) -> None:
        """Polls Airflow."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("Airflow did not get that far")
            time.sleep(2)

    def approve(self, name: str, why: str) -> None:
        """Looks at a question, answers it with *Approve*, and waits for what follows."""
        resize(self.browser, 1400, 900)
        self.browser.get(f"{self.url}{self.question()}")
        self.has("Approve", "Reject")
        self.take(name)
        run_id = str(self.runs(CHAMPION)[0]["dag_run_id"])
        field = "//*[normalize-space()='Why']/following::*[self::input or self::textarea][1]"
        for found in self.browser.find_elements(By.XPATH, field):
            found.send_keys(why)
        self.press("Approve")
        self.wait(lambda: self.ended(CHAMPION, run_id))

    def call(self, *words: str) -> None:
        """Types a command in the project."""
        environment = {**os.environ, "HOUSING_ROOT": str(self.root)}
        command = [str(self.root / "scripts" / "uv"), "run", "housing", *words]
        subprocess.run(command, cwd=self.root, env=environment, check=True)


def tell(story: Story) -> None:
    """Plays the story and takes the pictures."""
    story.log_in()
    story.see_run("promoted", story.follow(PIPELINE, 0))
    resize(story.browser, 1100, 1480)
    story.browser.get(f"{story.url}/dags/{PIPELINE}")
    story.press("Trigger")
    story.has("Parameter overrides")
    story.take("trigger-form")
    story.approve("approval-first", "The first one: nothing is live yet")
    story.see_page("dashboard-approved")
    story.see_run("unchanged", story.run(PIPELINE))
    best = yaml.safe_load((story.root / "params.yaml").read_text())["candidates"][-1]
    story.see_run("rejected", story.run(PIPELINE, dvc_overrides=[WORSE.format(best)]))
    story.see_page("dashboard-rejected")
    fail_and_mend(story)
    deliver_and_withdraw(story)
    story.see_whole_page("dashboard-desktop", 1200)
    story.see_whole_page("dashboard-dark", 1200, "dark")
    story.see_whole_page("dashboard-phone", 390)
    resize(story.browser, 1400, 900)
    story.browser.get(f"{story.url}/plugin/housing")
    time.sleep(10)
    story.take("dashboard-tab")


def fail_and_mend(story: Story) -> None:
    """A broken delivery, the run that fails by it, and the same run after it was taken away."""
    broken = story.root / "data" / "landing" / "broken.csv"
    known = len(story.runs(PIPELINE))
    broken.write_text("Latitude,Longitude\n37.1,-121.9\n", encoding="utf-8")
    run_id = story.follow(PIPELINE, known)
    story.see_run("failed", run_id)
    story.see_page("dashboard-failed")
    broken.unlink()
    path = f"/api/v2/dags/{PIPELINE}/clearTaskInstances"
    body = {"dag_run_id": run_id, "dry_run": False, "only_failed": False}
    story.api.post(path, json=body).raise_for_status()
    story.wait(lambda: story.ended(PIPELINE, run_id))
    story.see_page("dashboard-mended")


def deliver_and_withdraw(story: Story) -> None:
    """More houses, a second version, which becomes champion and is taken back."""
    (first,) = (story.root / "data" / "landing").glob("*.csv")
    head, *lines = first.read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder:
        more = Path(folder) / "more.csv"
        rows = [line.split(",") for line in lines[::60]]
        place = head.split(",").index("Population")
        for row in rows:  # other districts: the same ones would be left out as duplicates
            row[place] = str(float(row[place]) + 1)
        more.write_text("\n".join([head, *map(",".join, rows)]) + "\n", encoding="utf-8")
        known = len(story.runs(PIPELINE))
        story.call("deliver", str(more))
    story.follow(PIPELINE, known)
    story.approve("approval", "More houses, and no worse on those that both saw")
    story.see_page("dashboard-approved-second")
    story.run(ROLLBACK, alias="champion", reason="Prices of new districts look wrong")
    story.see_page("dashboard-rollback")
    story.run(ROLLBACK, alias="staging", reason="The delivery holds estimates, not prices")
    story.see_page("dashboard-withdrawn")


def main() -> None:
    """Takes the pictures of a project."""
    given = [Path(word).resolve() for word in sys.argv[1:]]
    root, folder = [*given, *(ROOT, ROOT / PICTURES)[len(given) :]]
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        tell(Story(root, folder, browser))


if __name__ == "__main__":
    main()
