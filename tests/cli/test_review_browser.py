"""Calls are reviewed with the keyboard in real browsers, by two at once and across a kill; nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.browser import open_browser, press, wait_for
from tests.serve.conftest import Running, registered, running  # noqa: F401
from tests.watch.conftest import call

from kasauti.calls.log import CallLog
from kasauti.calls.reviews import Reviews, Wish

CALLS = 60


@pytest.fixture
def browsers(tmp_path: Path) -> Iterator[list[Any]]:
    drivers = [open_browser(tmp_path / name) for name in ("one", "two")]
    yield drivers
    for driver in drivers:
        driver.quit()


def shown(driver: Any) -> str:
    text = "document.querySelector('#text .text')?.textContent"
    return str(wait_for(driver, f"!document.body.classList.contains('busy') && {text}", "a call"))


def decide(driver: Any, key: str) -> str:
    """Press a key, and wait until the page has gone on; the text that was read."""
    text, done = shown(driver), int(driver.execute_script("return document.getElementById('done').textContent"))
    press(driver, key)
    wait_for(driver, f"document.getElementById('done').textContent === '{done + 1}'", "the decision saved")
    return text


@pytest.mark.slow
def test_two_review_at_once_across_a_kill(registered: Path, browsers: list[Any], tmp_path: Path) -> None:  # noqa: F811
    where = tmp_path / "calls.db"
    log, draw = CallLog.open(str(where)), random.Random(2)
    now = datetime.now(UTC)
    log.append([call(n, now - timedelta(minutes=n), text=f"call {n}", confidence=draw.random()) for n in range(CALLS)])
    Reviews(log).offer([Wish(call_id=f"c{n}", reason="random") for n in range(CALLS)])
    one, two = browsers
    read: list[str] = []
    with running(registered, "--calls", str(where)) as server:
        address, port = server.address, server.port
        for driver in browsers:
            driver.get(f"{address}/review")
        for place in range(30):
            read.append(decide(one, " " if place % 3 else "2"))
            if place < 15:
                read.append(decide(two, "3"))
        assert len(set(read)) == len(read) == 45
        said = {one.call_id: one.label for one in Reviews(log).decisions()}
        assert len(said) == 45, "what the page called saved is on disk"
        shown(one)
        press(one, "1")  # on its way, or not, when the process dies
        server.process.kill()
        server.process.wait()
    kept = len(list(Reviews(log).decisions()))
    assert kept in (45, 46)
    with running(registered, "--calls", str(where), "--port", str(port)):
        wait_for(one, "document.getElementById('done').textContent === '31'", "sent again to the new server")
        assert len(list(Reviews(log).decisions())) == 46
        press(one, "u")
        wait_for(one, "document.getElementById('done').textContent === '30'", "undone")
        assert len(list(Reviews(log).decisions())) == 45
        for width in (360, 1200):
            one.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 700},
            )
            for path in ("/", "/review"):
                one.get(f"{address}{path}")
                assert one.execute_script("return document.documentElement.scrollWidth <= innerWidth"), (width, path)
                named = "[...document.querySelectorAll('button, a, input')].filter(e => e.checkVisibility())"
                unnamed = f"{named}.filter(e => !(e.innerText || e.labels?.length)).length"
                assert one.execute_script(f"return {unnamed}") == 0
                assert one.execute_script("return document.querySelectorAll('main, h1').length") == 2
        told = [line["message"] for line in one.get_log("browser")]
        assert [text for text in told if "net::ERR_" not in text] == []
    log.close()
