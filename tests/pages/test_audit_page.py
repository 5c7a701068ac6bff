"""The audit page shows the worst first, keeps user text as text, and goes without what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.types import Finding, Severity
from kasauti.pages.audit import headlines, length_bins, render_audit, worst_first, write_audit

SAMPLE = Path(__file__).with_name("sample_audit.json")
NASTY = "<script>alert(1)</script>"


@pytest.fixture
def sample() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SAMPLE.read_text(encoding="utf-8"))
    return found


def finding(severity: Severity, count: int = 1, what: str = "something") -> Finding:
    return Finding(check="a check", severity=severity, what=what, count=count, evidence=("seen",), why="w", mend="m")


def plain(page: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL).replace("<wbr>", "")
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_what_stops_comes_first_and_within_a_severity_what_touches_most_rows() -> None:
    given_rows = [finding(Severity.NOTE, 900, "n"), finding(Severity.WARN, 3, "w3"), finding(Severity.STOP, 1, "s"),
                  finding(Severity.WARN, 40, "w40")]  # fmt: skip
    assert [one.what for one in worst_first(given_rows)] == ["s", "w40", "w3", "n"]


def test_a_finding_and_its_dict_are_shown_alike() -> None:
    one = finding(Severity.WARN, 3)
    as_dict = {
        "check": "a check",
        "severity": "warn",
        "what": "something",
        "count": 3,
        "evidence": ["seen"],
        "why": "w",
        "mend": "m",
    }
    assert render_audit([one], {}) == render_audit([as_dict], {})


@pytest.mark.parametrize(
    ("severities", "said"),
    [
        ([], "Nothing was found."),
        (["note"], "The data is fit to train on. 1 note to read."),
        (["warn", "note"], "Nothing stops the work. 1 warning to weigh."),
        (["stop", "warn"], "1 problem stops the work. Mend it before training."),
        (["stop", "stop"], "2 problems stop the work. Mend them before training."),
    ],
)
def test_the_headline_says_what_it_comes_to(severities: list[str], said: str) -> None:
    assert " ".join(headlines(worst_first([finding(Severity(one)) for one in severities]))) == said


def test_every_finding_is_shown_whole(sample: dict[str, Any]) -> None:
    text = plain(render_audit(sample["findings"], sample["context"]))
    for one in sample["findings"]:
        for part in (one["what"], one["why"], one["mend"]):
            assert part in text
        assert all(f"{row}" in text for row in one["rows"])


def test_token_views_are_inserted_as_they_are(sample: dict[str, Any]) -> None:
    page = render_audit([], sample["context"])
    for one in sample["context"]["samples"]:
        assert one["html"] in page


def test_only_a_few_rows_to_read_are_open_and_none_is_lost(sample: dict[str, Any]) -> None:
    one = sample["context"]["samples"][0]
    sample["context"]["samples"] = [{**one, "row": number} for number in range(1000, 1050)]
    page = render_audit([], sample["context"])
    assert all(f"row {number}<" in page for number in range(1000, 1050))
    assert page.index("row 1009<") < page.index("<summary>40 more") < page.index("row 1010<")


def test_duplicates_stand_side_by_side_and_their_faults_are_named(sample: dict[str, Any]) -> None:
    text = plain(render_audit([], sample["context"]))
    assert "2 pairs of rows say nearly the same" in text
    assert "86% of their words in common different answers across the split" in text
    assert text.count("different answers") == 1


def test_label_bars_hold_every_count_of_every_part(sample: dict[str, Any]) -> None:
    page = render_audit([], sample["context"])
    for counts in sample["context"]["labels"].values():
        assert f"{counts['train']} + {counts['validation']} + {counts['test']}" in page


def test_rows_over_the_limit_are_counted(sample: dict[str, Any]) -> None:
    context = {"lengths": {"values": [10, 20, 30, 400], "limit": 25}}
    assert "2 rows are longer than 25 tokens" in plain(render_audit([], context))
    assert "The longest row has 400 tokens; the limit is 512" in plain(
        render_audit([], {"lengths": {"values": [10, 400], "limit": 512}})
    )


def test_the_cut_is_drawn_where_it_is_near_and_told_where_it_is_far() -> None:
    near = render_audit([], {"lengths": {"values": [100, 200], "limit": 512}})
    assert near.count('class="cut"') >= 1
    assert "limit: 512" in plain(near)
    far = render_audit([], {"lengths": {"values": [10, 20], "limit": 512}})
    assert 'class="cut"' not in far
    assert "The cut at 512 tokens is far to the right." in plain(far)


def test_a_row_to_read_shows_its_text_and_the_first_three_their_tokens(sample: dict[str, Any]) -> None:
    one = {**sample["context"]["samples"][0], "text": f"A text {NASTY}"}
    sample["context"]["samples"] = [one] * 5
    page = render_audit([], sample["context"])
    assert page.count("A text &lt;script&gt;") == 5
    assert page.count("<details open><summary>As the model is taught it") == 3
    assert page.count("<summary>As the model is taught it") == 5


def test_a_ready_made_histogram_does_as_well() -> None:
    context = {"lengths": {"edges": [0, 10, 20], "counts": [5, 7], "limit": 64, "unit": "words"}}
    assert "No row is longer than 64 words" in plain(render_audit([], context))


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_every_length_falls_into_the_bin_that_holds_it(values: list[int]) -> None:
    edges, counts = length_bins(values)
    assert len(edges) == len(counts) + 1
    assert sum(counts) == len(values)
    for low, high, number in zip(edges, edges[1:], counts, strict=False):
        assert number == sum(low <= value < high for value in values)


def test_script_in_findings_and_rows_is_shown_and_never_run(sample: dict[str, Any]) -> None:
    context = sample["context"]
    context["task"] = NASTY
    context["labels"] = {NASTY: {"train": 3}}
    context["duplicates"][0]["a"] = {"row": 1, "part": NASTY, "text": NASTY, "answer": NASTY}
    context["samples"][0]["answer"] = NASTY
    bad = Finding(
        check=NASTY, severity=Severity.WARN, what=NASTY, where=NASTY, evidence=(NASTY,), why=NASTY, mend=NASTY
    )
    page = render_audit([bad], context)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    "key", ["task", "created", "kasauti", "data_version", "rows", "labels", "lengths", "proof", "samples", "duplicates"]
)
@pytest.mark.parametrize("value", [..., None])
def test_any_part_may_be_missing(sample: dict[str, Any], key: str, value: Any) -> None:
    context = {name: part for name, part in sample["context"].items() if name != key}
    if value is None:
        context[key] = None
    page = render_audit(sample["findings"], context)
    assert page.rstrip().endswith("</html>")
    assert ">None<" not in page


def test_an_audit_of_nothing_is_still_a_page() -> None:
    assert "No check found anything to say." in render_audit([], {})


def test_the_page_is_written_whole(sample: dict[str, Any], tmp_path: Path) -> None:
    written = write_audit(sample["findings"], sample["context"], tmp_path / "audit.html")
    assert written.read_text(encoding="utf-8") == render_audit(sample["findings"], sample["context"])
