"""A real browser without a screen: Debian's Chromium, driven by its own driver. Nothing is downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",  # as root there is no other way
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-prefers-reduced-motion",  # a driver does not wait for a page that scrolls smoothly
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def open_browser(profile: Path, *, width: int = 1200, height: int = 1000) -> Any:
    """A driver with a fresh profile; the test is skipped where there is no Chromium or no driver for it."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


def press(driver: Any, *keys: str) -> None:
    """Type, wherever the focus is."""
    from selenium.webdriver.common.action_chains import ActionChains

    chain = ActionChains(driver, duration=0)
    for key in keys:
        chain.send_keys(key)
    chain.perform()


def wait_for(driver: Any, script: str, what: str, seconds: float = 60) -> Any:
    """What a script returns once that is neither empty nor false."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, seconds, poll_frequency=0.05).until(
        lambda driver: driver.execute_script(f"return {script}"), what
    )


def rows_of_page(driver: Any) -> Sequence[dict[str, str]]:
    """Every row on the reading page: its key, answer, what stands for it, and whether it could not be saved."""
    rows: Sequence[dict[str, str]] = driver.execute_script(
        "return [...document.querySelectorAll('.read')].map(row => ({key: row.dataset.key, choice: row.dataset.choice,"
        " answer: row.querySelector('.answer b').textContent, said: row.querySelector('.outcome').textContent,"
        " failed: row.classList.contains('failed'), current: row.hasAttribute('aria-current')}))"
    )
    return rows
