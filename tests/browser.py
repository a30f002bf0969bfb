"""A headless Chromium, for the tests of pages and for the pictures in the documentation."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own."""
    options = Options()
    options.binary_location = CHROMIUM or ""
    # Who needs more than the page's own text waits for it: Selenium gives up on a page that loads
    # longer than two minutes, as Airflow's does on a busy machine.
    options.page_load_strategy = "eager"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


def show(
    browser: webdriver.Chrome, page: Path, *, width: int, height: int = 900, scheme: str = "light"
) -> None:
    """Opens the dashboard and waits until its charts are drawn."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    resize(browser, width, height)
    browser.get(page.as_uri())
    ready = "return document.documentElement.dataset.ready === 'true'"
    WebDriverWait(browser, 30).until(lambda driver: driver.execute_script(ready))


def resize(browser: webdriver.Chrome, width: int, height: int) -> None:
    """Gives the browser a screen; a narrow one is a phone's."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
