"""The reading page in a real browser: keys, mouse, a dead server, nasty rows, and what a screen reader is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from tests.browser import open_browser, press, rows_of_page, wait_for
from tests.pages.test_reading import NASTY, TOKEN, Counted, desk_of

from kasauti.data.decisions import standing
from kasauti.pages.reading import Desk
from kasauti.pages.reading_app import make_app

ESCAPE, ENTER, DOWN, TAB = "\ue00c", "\ue007", "\ue015", "\ue004"
LABELS = ("card_lost", "refund_delayed", "refund_missing", NASTY)
TEXTS = [
    (NASTY, "card_lost"),
    ("two", "refund_delayed"),
    ("three", "card_lost"),
    ("four", NASTY),
    ("five", "card_lost"),
]


class Site:
    """The page of a desk, served from a thread."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        config = uvicorn.Config(make_app(desk, Counted(), TOKEN), port=0, log_level="error", lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.home = f"http://127.0.0.1:{port}/"
        self.address = f"{self.home}?token={TOKEN}"

    def stop(self) -> None:
        """End it, open connections included."""
        self.server.force_exit = self.server.should_exit = True
        self.thread.join()

    def stands(self) -> list[str]:
        return [made.label or made.choice.value for made in standing(self.desk.task.folder).values()]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver = open_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def site(tmp_path: Any, driver: Any) -> Iterator[Site]:
    desk = desk_of(tmp_path, TEXTS, LABELS, view=lambda row: '<div class="kas-tokens">tokens</div>')
    site = Site(desk)
    driver.get(site.address)
    yield site
    site.stop()


def status(driver: Any, text: str) -> None:
    wait_for(driver, f"document.getElementById('status').textContent.includes({text!r})", f"a status with {text}")


def current(driver: Any) -> int:
    return next(place for place, row in enumerate(rows_of_page(driver)) if row["current"])


def test_script_in_a_row_or_a_label_is_text_and_does_not_run(site: Site, driver: Any) -> None:
    driver.execute_script("window.alert = () => { window.ran = true }")
    press(driver, "r", "script")
    wait_for(driver, "document.querySelector('[role=option][aria-selected=true]')", "an option")
    press(driver, ENTER)
    status(driver, "1 of 4")
    assert rows_of_page(driver)[0]["said"] == f"Relabelled: {NASTY}"
    assert driver.execute_script("return document.querySelectorAll('#desk img, #desk script').length") == 0
    assert driver.execute_script("return window.ran") is None
    assert site.stands() == [NASTY]


def test_a_label_is_found_by_a_part_of_it_and_chosen_with_arrows(site: Site, driver: Any) -> None:
    press(driver, "r", "refund", DOWN, ENTER)
    status(driver, "1 of 4")
    assert site.stands() == ["refund_missing"]
    press(driver, "r", "missing", ENTER)  # row two: the middle of a name
    status(driver, "2 of 4")
    assert site.stands() == ["refund_missing", "refund_missing"]


def test_letters_typed_for_a_label_are_no_commands_and_escape_leaves_all_as_it_was(site: Site, driver: Any) -> None:
    press(driver, "r", "dadu")
    assert driver.execute_script("return document.getElementById('none').textContent") == "No label fits."
    press(driver, ENTER, ESCAPE)
    wait_for(driver, "!document.querySelector('dialog[open]')", "the dialog closed")
    assert site.stands() == []
    press(driver, "a")
    status(driver, "1 of 4")
    assert site.stands() == ["accept"]


def test_enter_without_a_choice_decides_nothing(site: Site, driver: Any) -> None:
    press(driver, "r", ENTER)
    assert driver.execute_script("return document.getElementById('relabel').open")
    press(driver, ESCAPE)
    assert site.stands() == []


def test_keys_move_between_rows_and_go_no_further_than_the_ends(site: Site, driver: Any) -> None:
    assert current(driver) == 0
    press(driver, "k")
    assert current(driver) == 0
    press(driver, "j", "j", "j", "j", "j")
    assert current(driver) == 3
    press(driver, "k", "a")
    status(driver, "1 of 4")
    assert current(driver) == 3
    press(driver, "n")
    assert current(driver) == 0
    assert driver.execute_script("return document.activeElement.dataset.key") == rows_of_page(driver)[0]["key"]


def test_undo_takes_back_this_rows_decision_or_else_the_latest(site: Site, driver: Any) -> None:
    press(driver, "a", "d", "a")
    status(driver, "3 of 4")
    press(driver, "k", "k", "u")  # the second row
    status(driver, "2 of 4")
    assert current(driver) == 1
    assert site.stands() == ["accept", "accept"]
    press(driver, "u")  # it has none now: the latest, of the third row
    status(driver, "1 of 4")
    assert current(driver) == 2
    press(driver, "u")
    status(driver, "0 of 4")
    press(driver, "u")
    status(driver, "nothing to undo")
    assert site.stands() == []


def test_after_a_reload_undo_still_knows_the_order(site: Site, driver: Any) -> None:
    press(driver, "j", "a", "k", "k", "d")
    status(driver, "2 of 4")
    driver.refresh()
    assert current(driver) == 2
    press(driver, "u")
    status(driver, "1 of 4")
    assert site.stands() == ["accept"]


def click(driver: Any, selector: str) -> None:
    """A click in the middle of what a reader has scrolled to."""
    from selenium.webdriver.common.by import By

    found = driver.find_element(By.CSS_SELECTOR, selector)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    found.click()


def test_a_mouse_or_a_finger_does_as_well(site: Site, driver: Any) -> None:
    click(driver, "#row-3 [data-act=drop]")
    status(driver, "1 of 4")
    click(driver, "#row-2 [data-act=relabel]")
    click(driver, "[data-label=card_lost]")
    status(driver, "2 of 4")
    assert site.stands() == ["drop", "card_lost"]
    assert [row["choice"] for row in rows_of_page(driver)] == ["", "relabel", "drop", ""]
    click(driver, "#row-3 [data-act=undo]")
    status(driver, "1 of 4")
    assert site.stands() == ["card_lost"]


def test_what_takes_the_focus_is_not_hidden_behind_the_bar(site: Site, driver: Any) -> None:
    press(driver, "j", "j", "k", "k", "j")
    hidden = "document.querySelector('.deskbar').getBoundingClientRect().bottom"
    assert driver.execute_script(f"return document.activeElement.getBoundingClientRect().top >= {hidden}")


def test_letter_keys_can_be_switched_off(site: Site, driver: Any) -> None:
    driver.execute_script("document.getElementById('keys').click(); document.querySelector('.read').focus()")
    press(driver, "a", "d")
    assert rows_of_page(driver)[0]["said"] == ""
    driver.execute_script("document.getElementById('keys').click(); document.querySelector('.read').focus()")
    press(driver, "a")
    status(driver, "1 of 4")
    assert site.stands() == ["accept"]


def test_nothing_is_called_saved_when_the_server_is_gone(site: Site, driver: Any) -> None:
    press(driver, "a")
    status(driver, "1 of 4")
    site.stop()
    press(driver, "d")
    alarm = wait_for(driver, "document.getElementById('alarm').textContent", "an alarm")
    assert alarm.startswith("Not saved (row 2): Kasauti does not answer.")
    rows = rows_of_page(driver)
    assert [row["choice"] for row in rows] == ["accept", "", "", ""]
    assert (rows[1]["failed"], rows[1]["said"]) == (True, "Not saved")
    assert site.stands() == ["accept"]


def test_the_address_loses_its_token_and_a_reload_still_gets_in(site: Site, driver: Any) -> None:
    assert driver.current_url == site.home
    driver.refresh()
    assert len(rows_of_page(driver)) == 4


def test_test_rows_come_after_the_warning_was_answered(site: Site, driver: Any) -> None:
    from selenium.webdriver.common.by import By

    driver.get(f"{site.home}?rows=test")
    assert rows_of_page(driver) == []
    button = driver.find_element(By.CSS_SELECTOR, ".warning button")
    assert "count it" in button.text
    button.click()
    wait_for(driver, "document.querySelectorAll('.read').length === 1", "the test row")
    press(driver, "a")
    status(driver, "All 1 rows are decided")


def test_whatever_takes_the_focus_has_a_name_and_only_the_current_row_is_in_the_way_of_tab(
    site: Site, driver: Any
) -> None:
    driver.execute_cdp_cmd("Accessibility.enable", {})
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    focusable = [
        node
        for node in nodes
        if any(p["name"] == "focusable" and p["value"]["value"] for p in node.get("properties", ()))
        and node["role"]["value"] in ("button", "link", "checkbox", "combobox", "DisclosureTriangle", "textbox")
    ]
    assert len(focusable) > 10
    assert [node["role"]["value"] for node in focusable if not node.get("name", {}).get("value")] == []
    stops = driver.execute_script(
        "return [...document.querySelectorAll('.read button, .read summary')].filter(e => e.tabIndex === 0)"
        ".map(e => e.closest('.read').dataset.key)"
    )
    assert set(stops) == {rows_of_page(driver)[0]["key"]}
    assert driver.execute_script("return document.activeElement.className") == "read"
    press(driver, TAB)
    assert driver.execute_script("return document.activeElement.dataset.act") == "accept"
    ids = driver.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_the_outcome_is_told_in_a_live_region_and_dialogs_hand_the_focus_back(site: Site, driver: Any) -> None:
    live = driver.execute_script("return [...document.querySelectorAll('[role=status], [role=alert]')].map(e => e.id)")
    assert {"status", "alarm"} <= set(live)
    press(driver, "j", "?")
    assert driver.execute_script("return document.getElementById('help').contains(document.activeElement)")
    press(driver, ESCAPE)
    wait_for(driver, "document.activeElement.className === 'read'", "the focus is back on the row")
    assert current(driver) == 1


def test_a_task_without_labels_takes_a_text_of_several_lines(tmp_path: Any, driver: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    site = Site(desk_of(tmp_path, [("one", "first"), ("two", "b"), ("three", "c")], labels=()))
    try:
        driver.get(site.address)
        press(driver, "r", ENTER, "second")
        ActionChains(driver).key_down("\ue009").send_keys(ENTER).key_up("\ue009").perform()
        status(driver, "1 of 2")
        assert site.stands() == ["first\nsecond"]
    finally:
        site.stop()


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_wider_than_the_screen(site: Site, driver: Any, width: int) -> None:
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        press(driver, "r")
        assert driver.execute_script("return document.getElementById('relabel').getBoundingClientRect().right") <= width
        press(driver, ESCAPE)
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_browser_has_nothing_to_complain_about(site: Site, driver: Any) -> None:
    driver.get_log("browser")
    driver.refresh()
    press(driver, "a", "r", "miss", ENTER)
    status(driver, "2 of 4")
    assert driver.get_log("browser") == []
