"""The review page and the dashboard over HTTP: who may come in, what is kept, what is counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.conftest import task_text
from tests.watch.conftest import call

from kasauti.calls.log import CallLog
from kasauti.calls.reviews import Reviews, Wish
from kasauti.core.task import load_task
from kasauti.pages.console import PAGES
from kasauti.pages.review import KEYS, keys_of
from kasauti.serve.app import Settings, make_app
from kasauti.serve.keeping import CallSettings
from kasauti.serve.keys import Keys

NASTY = "<script>alert(1)</script>"
HOME = "http://127.0.0.1:8000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "task.yaml").write_text(task_text("./nowhere"), "utf-8")
    now = datetime.now(UTC)
    log = CallLog.open(str(tmp_path / "calls.db"))
    texts = {"text": NASTY}
    log.append([call(n, now - timedelta(hours=n), confidence=0.99, accepted=True, **texts) for n in range(8)])
    Reviews(log).offer([Wish(call_id=f"c{n}", reason="random", priority=float(9 - n)) for n in range(8)])
    log.close()
    return tmp_path


def client_of(folder: Path, keys: Keys | None = None, **headers: str) -> TestClient:
    settings = Settings(calls=CallSettings(where=str(folder / "calls.db")))
    app = make_app(load_task(folder), keys, settings, pages=PAGES)
    return TestClient(app, base_url=HOME, headers=headers, follow_redirects=False)


def test_two_browsers_get_other_calls_and_a_decision_is_on_disk_when_it_is_answered(folder: Path) -> None:
    one, two = client_of(folder), client_of(folder)
    for client in (one, two):
        page = client.get("/review")
        assert page.status_code == 200
        assert "script-src 'self'" in page.headers["content-security-policy"]
    first, other = (client.post("/review/next", json={}).json()["call"] for client in (one, two))
    assert first["review"] != other["review"]
    assert set(first) == {"review", "fields", "history", "answered", "at", "second"}, "nothing that would sway"
    told = one.post("/review/decide", json={"review": first["review"], "label": "card"}).json()
    log = CallLog.open(str(folder / "calls.db"))
    (said,) = Reviews(log).decisions()
    assert (said.label, said.reviewer[:6]) == ("card", "guest-")
    assert told["change"] == 1
    assert told["call"]["review"] not in (first["review"], other["review"])
    assert two.post("/review/decide", json={"review": told["call"]["review"], "label": "card"}).status_code == 409
    back = one.post("/review/undo", json={"current": told["call"]["review"]}).json()
    assert back["call"]["review"] == first["review"]
    assert list(Reviews(log).decisions()) == []
    later = one.post("/review/next", json={"skip": first["review"]}).json()
    assert later["call"]["review"] != first["review"]
    log.close()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"review": 1},
        {"review": "1", "label": "card"},
        {"review": 1, "label": "nobody"},
        {"review": True, "label": 3},
    ],
)
def test_what_is_no_decision_is_refused(folder: Path, body: dict[str, Any]) -> None:
    assert client_of(folder).post("/review/decide", json=body).status_code == 422


def test_a_key_is_needed_and_a_callers_is_not_enough(folder: Path) -> None:
    keys = Keys(folder / "keys.json")
    asha, shop = keys.add("asha", "reviewer"), keys.add("shop", "caller")
    client = client_of(folder, keys)
    for path in ("/", "/review"):
        sent = client.get(path, headers={"accept": "text/html"})
        assert (sent.status_code, sent.headers["location"]) == (303, "/login")
    assert client.post("/review/next", json={}).status_code == 401
    assert client.get("/login").status_code == 200
    own = {"origin": HOME}
    assert client.post("/login", data=None, content=f"key={shop}", headers=own).status_code == 403
    assert client.post("/login", content="key=kst_no", headers=own).status_code == 403
    assert client.post("/login", content=f"key={asha}", headers={"origin": "http://evil"}).status_code == 403
    signed = client.post("/login", content=f"key={asha}", headers=own)
    cookie = signed.headers["set-cookie"].lower()
    assert signed.status_code == 303
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/review").status_code == 200
    got = client.post("/review/next", json={}, headers=own).json()["call"]
    decided = {"review": got["review"], "label": "card"}
    assert client.post("/review/decide", json=decided).status_code == 403, "a cookie alone changes nothing"
    other = {"origin": "http://evil"}
    assert client.post("/review/decide", json=decided, headers=other).status_code == 403
    assert client.post("/review/decide", json=decided, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.post("/review/decide", json=decided, headers=own).status_code == 200
    log = CallLog.open(str(folder / "calls.db"))
    assert [one.reviewer for one in Reviews(log).decisions()] == ["asha"]
    log.close()
    assert client.get("/versions").status_code == 401, "endpoints take no cookie"
    assert client_of(folder, keys, **{"x-api-key": asha}).post("/review/next", json={}).status_code == 200


def test_the_dashboard_shows_what_is_there(folder: Path) -> None:
    page = client_of(folder).get("/")
    assert page.status_code == 200
    assert "calls in the last 24 hours</dt><dd>8</dd>" in page.text
    assert "8 random" in page.text
    assert NASTY not in page.text


def test_a_service_without_calls_has_a_dashboard_and_no_review(folder: Path) -> None:
    app = make_app(load_task(folder), None, Settings(), pages=PAGES)
    client = TestClient(app, base_url=HOME)
    assert "No calls are kept" in client.get("/").text
    assert client.get("/review").status_code == 404


def test_keys_of_labels_are_never_those_of_another_act() -> None:
    assert len(set(KEYS)) == len(KEYS)
    assert not set(KEYS) & set("su /")
    assert [key for key, _ in keys_of([str(n) for n in range(40)])][33:] == [""] * 7
