"""The reading page and what it answers over HTTP: nobody else gets in, and user text stays text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.data.conftest import rows_of, task_of

from kasauti.core.types import Finding, Severity
from kasauti.data.decisions import keys_of, log_path, standing
from kasauti.pages.reading import Desk, Reading, Row, render_reading
from kasauti.pages.reading_app import Looks, make_app

NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>"
TOKEN = "secret-of-this-start"
HOME = "http://127.0.0.1:8000"


class Counted(Looks):
    """Counts in memory."""

    def __init__(self) -> None:
        self.seen = 0
        super().__init__(lambda: self.seen, self.one_more)

    def one_more(self) -> int:
        self.seen += 1
        return self.seen


def desk_of(folder: Any, texts: list[tuple[str, str]], labels: tuple[str, ...] = ("a", "b"), **more: Any) -> Desk:
    task = task_of(labels, folder) if labels else free_task(folder)
    examples = rows_of(task, texts)
    rows = [Row(key=key, part="train", example=row) for row, key in zip(examples, keys_of(examples), strict=True)]
    held = Row(key=rows[-1].key, part="test", example=rows[-1].example)
    readings = {
        "random": Reading(title="Right?", link="random rows", rows=rows[:-1]),
        "test": Reading(title="Right?", link="test rows", rows=[held]),
        "finding-0": Reading(title="Two of them", link="check", rows=[rows[0], held]),
    }
    finding = Finding(check="check", severity=Severity.WARN, what="two of them", rows=[1, 2])
    values: dict[str, Any] = {"context": {"task": "t"}, "view": lambda row: "<b>tokens</b>", **more}
    return Desk(task=task, findings=[finding], readings=readings, pointed={0: "finding-0"}, **values)


def free_task(folder: Any) -> Any:
    from kasauti.core.task import parse_task

    return parse_task("kind: generation\ninput: 'Say: {text}'\ntarget: label\ndata: {train: rows.csv}\n", folder=folder)


@pytest.fixture
def desk(tmp_path: Any) -> Desk:
    return desk_of(tmp_path, [("one", "a"), ("two", "b"), ("three", "a"), ("held out", "b")])


@pytest.fixture
def client(desk: Desk) -> TestClient:
    client = TestClient(make_app(desk, Counted(), TOKEN), base_url=HOME, follow_redirects=False)
    assert client.get("/", params={"token": TOKEN}).status_code == 200  # the cookie is set by this
    client.headers["Origin"] = HOME
    return client


def key(desk: Desk, place: int = 0, name: str = "random") -> str:
    return str(desk.readings[name].rows[place].key)


def test_a_decision_is_on_disk_when_the_answer_comes(desk: Desk, client: TestClient) -> None:
    answer = client.post("/decisions", json={"row": key(desk), "choice": "relabel", "label": "b"})
    assert answer.json() == {"row": key(desk), "choice": "relabel", "said": "Relabelled: b"}
    assert [str(made) for made in standing(desk.task.folder)] == [key(desk)]
    assert client.post("/decisions", json={"row": key(desk), "choice": "undo"}).json()["choice"] == ""
    assert standing(desk.task.folder) == {}


def test_the_page_shows_what_stands_and_in_which_order(desk: Desk, client: TestClient) -> None:
    for place, choice in ((2, "drop"), (0, "accept")):
        client.post("/decisions", json={"row": key(desk, place), "choice": choice})
    page = client.get("/").text
    assert re.findall(r'<li class="read".*? data-choice="(\w*)"', page) == ["accept", "", "drop"]
    assert f'data-order="{key(desk, 2)} {key(desk, 0)}"' in page
    assert "1 left" in page


@pytest.mark.parametrize(
    "body",
    [{}, {"row": 1, "choice": "accept"}, {"row": "x", "choice": "eat"}, {"row": "x", "choice": "drop", "more": 1}, []],
)
def test_a_body_that_is_no_decision_is_refused_in_a_sentence(client: TestClient, desk: Desk, body: Any) -> None:
    answer = client.post("/decisions", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "accept, relabel, drop or undo" in answer.json()["detail"]
    assert not log_path(desk.task.folder).exists()


def test_a_label_that_is_not_listed_is_refused_with_the_row(client: TestClient, desk: Desk) -> None:
    answer = client.post("/decisions", json={"row": key(desk), "choice": "relabel", "label": "z"})
    assert answer.status_code == 422
    assert "rows.csv, row 1: the label 'z' is not one of the task's" in answer.json()["detail"]


def test_a_disk_that_cannot_be_written_is_told_and_nothing_counts_as_decided(client: TestClient, desk: Desk) -> None:
    log_path(desk.task.folder).mkdir(parents=True)  # a folder where the file should be
    with pytest.raises(Exception, match="cannot be read"):
        standing(desk.task.folder)
    answer = client.post("/decisions", json={"row": key(desk), "choice": "accept"})
    assert answer.status_code in (422, 500)
    assert "decisions.jsonl" in answer.json()["detail"]


@pytest.mark.parametrize("way", ["no token", "wrong token", "rebound name", "other origin", "no origin", "bad host"])
def test_nobody_else_gets_in(client: TestClient, desk: Desk, way: str) -> None:
    headers = {
        "rebound name": {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"},
        "other origin": {"Origin": "http://evil.example"},
        "bad host": {"Host": "127.0.0.1:x"},
    }.get(way, {})
    if way == "no origin":
        del client.headers["Origin"]
    if way in ("no token", "wrong token"):
        client.cookies.clear()
    params = {"token": "guess"} if way == "wrong token" else {}
    body = {"row": key(desk), "choice": "drop"}
    assert client.post("/decisions", json=body, headers=headers, params=params).status_code == 403
    assert client.post("/look", headers=headers, params=params).status_code == 403
    if way not in ("other origin", "no origin"):
        answer = client.get("/", headers=headers, params=params)
        assert answer.status_code == 403
        assert "held out" not in answer.text
        assert "one" not in re.findall(r"\w+", answer.text)
    assert standing(desk.task.folder) == {}


def test_the_cookie_is_for_this_page_alone(desk: Desk) -> None:
    client = TestClient(make_app(desk, Counted(), TOKEN), base_url=HOME)
    cookie = client.get("/", params={"token": TOKEN}).headers["set-cookie"].lower()
    assert cookie.startswith("kasauti-8000=")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_every_answer_says_what_the_page_may_do(client: TestClient) -> None:
    for answer in (client.get("/"), client.get("/reading.js"), client.get("/nowhere"), client.post("/decisions")):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe-eval" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_the_page_loads_nothing_from_elsewhere_and_has_no_script_of_its_own(client: TestClient) -> None:
    page = client.get("/").text
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/reading.js" defer>']
    assert re.findall(r'(?:src|href)="(?:https?:)?//', page) == []
    assert " on" not in " ".join(re.findall(r"<\w+ [^>]*?\son\w+=", page))
    assert "Content-Security-Policy" not in page  # the header says it; one in the page would forbid the script


def test_test_rows_are_shown_only_after_the_look_is_counted(desk: Desk) -> None:
    looks = Counted()
    client = TestClient(make_app(desk, looks, TOKEN), base_url=HOME, headers={"Origin": HOME})
    assert "held out" not in client.get("/", params={"token": TOKEN}).text
    for name in ("test", "finding-0"):
        page = client.get("/", params={"rows": name}).text
        assert "held out" not in page
        assert "so far: 0 looks" in page
    assert "1 row of this list is a test row and is not shown" in page
    body = {"row": key(desk, 0, "test"), "choice": "drop"}
    assert client.post("/decisions", json=body).status_code == 404
    assert looks.seen == 0
    page = client.post("/look", params={"rows": "test"}).text  # follows to the list
    assert looks.seen == 1
    assert "held out" in page
    assert client.post("/decisions", json=body).status_code == 200
    assert looks.seen == 2  # the test set is another one now, and was looked at


def test_a_list_that_is_not_there_is_named(client: TestClient) -> None:
    answer = client.get("/", params={"rows": "nonsense"})
    assert answer.status_code == 404
    assert "random, test, finding-0" in answer.json()["detail"]


def test_a_finding_leads_to_its_rows(client: TestClient) -> None:
    page = client.get("/").text
    assert 'href="/?rows=finding-0#rows">read these rows</a>' in page


def test_script_in_rows_labels_and_columns_is_shown_and_never_run(tmp_path: Any) -> None:
    desk = desk_of(tmp_path, [(NASTY, NASTY), (NASTY, "b"), ("x", "a")], labels=())
    page = render_reading(desk, "random", {}, 0, looked=False)
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/reading.js" defer>']
    assert "<img" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3


def test_a_task_without_labels_asks_for_a_text(tmp_path: Any) -> None:
    page = render_reading(
        desk_of(tmp_path, [("x", "long\nanswer"), ("y", "b")], labels=()), "random", {}, 0, looked=False
    )
    assert '<textarea id="choose"' in page
    assert 'role="combobox"' not in page
    assert "long\nanswer" in page


def test_rows_of_several_columns_show_each_by_its_name(tmp_path: Any) -> None:
    from kasauti.core.task import parse_task
    from kasauti.data.conversation import make_example

    text = "kind: classification\ninput: '{subject}: {body}'\ntarget: label\nlabels: [a, b]\ndata: {train: r.csv}\n"
    task = parse_task(text, folder=tmp_path)
    example = make_example(task, {"subject": "Late", "body": "Where is it?", "label": "a"}, 1, "r.csv")
    row = Row(key=keys_of([example])[0], part="train", example=example)
    reading = Reading(title="Right?", link="rows", rows=[row])
    desk = Desk(task=task, findings=[], context={}, readings={"random": reading}, pointed={}, view=lambda row: "")
    page = render_reading(desk, "random", {}, 0, looked=False)
    assert "<dt>subject</dt>" in page
    assert '<dd class="text" dir="auto">Where is it?</dd>' in page
    assert "As the model is taught it" not in page


def test_an_empty_list_says_so(desk: Desk) -> None:
    from dataclasses import replace

    empty = replace(desk, readings={"random": Reading(title="Right?", link="rows", rows=[])}, pointed={})
    assert "There is no row to read" in render_reading(empty, "random", {}, 0, looked=False)
