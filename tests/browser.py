"""A headless Chromium, for the tests of pages and for the pictures in the documentation.

``uv run python -m tests.browser`` makes the dashboard's pictures anew from the page that
``housing dashboard`` wrote.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from housing.dashboard import page_file

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
ROOT = Path(__file__).parents[1]
COLORS = 255
PICTURES = {"desktop": (1200, "light"), "dark": (1200, "dark"), "phone": (390, "light")}


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own."""
    options = Options()
    options.binary_location = CHROMIUM or ""
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


def main() -> None:
    """Makes the pictures of the whole page."""
    folder = ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for name, (width, scheme) in PICTURES.items():
            show(browser, page_file(ROOT), width=width, scheme=scheme)
            height = browser.execute_script("return document.documentElement.scrollHeight")
            resize(browser, width, height)
            answer = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
            picture = Image.open(BytesIO(base64.b64decode(answer["data"]))).convert("RGB")
            # A palette makes the file a third as large, and nobody sees it.
            picture.quantize(COLORS).save(folder / f"dashboard-{name}.png", optimize=True)


if __name__ == "__main__":
    main()
