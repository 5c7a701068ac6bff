"""The report shows what the trial says, all of it true to the input, and goes without what is missing."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kasauti.core.errors import StorageError
from kasauti.core.paper import words
from kasauti.decide.report import render_report, write_report
from kasauti.decide.report.claims import frontier
from kasauti.decide.report.read import read_trial

SAMPLE = Path(__file__).with_name("sample_trial.json")
NASTY = "<script>alert(1)</script>"
LEAST: dict[str, Any] = {"verdict": {"ship": "a"}, "approaches": [{"name": "a", "accuracy": {"value": 0.5}}]}


@pytest.fixture
def trial() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SAMPLE.read_text(encoding="utf-8"))
    return found


class Visible(HTMLParser):
    """The text a reader sees, without stylesheet and without the ticks of axes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "wbr"):
            self.stack.append((tag, dict(attrs).get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        self.stack.pop()
        if tag not in ("b", "strong", "span", "a"):
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        axis = any(tag == "text" and "small muted" in css for tag, css in self.stack)
        if not axis and not any(tag == "style" for tag, _ in self.stack):
            self.words.append(data)


def visible(page: str) -> str:
    return " ".join("".join(Visible(page).words).split())


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield len(value)
        for key, inner in value.items():
            yield key
            yield from leaves(inner)
    elif isinstance(value, list):
        yield len(value)
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def figures(text: str) -> set[str]:
    return {found.replace(",", "") for found in re.findall(r"\d[\d,]*(?:\.\d+)?", text)}


def forms(trial: dict[str, Any]) -> set[str]:
    """Every way in which a number of the trial may be written."""
    found: set[str] = set()
    for leaf in leaves(trial):
        if isinstance(leaf, str):
            found |= figures(leaf) | figures(words.when(leaf))
        elif words.finite(leaf) is not None:
            ways = [words.percent(leaf), words.percent(leaf, 0), words.fraction(leaf), words.fraction(leaf, 2),
                    words.money(leaf), words.price(leaf), words.milliseconds(leaf), words.duration(leaf),
                    words.count(leaf), words.p_value(leaf), words.ordinary(leaf), words.points(leaf),
                    f"{leaf:.3g}"]  # fmt: skip
            found |= figures(" ".join(ways))
    return found


# --- true to the input --------------------------------------------------------------------------------------------


def test_every_figure_on_the_page_is_in_the_trial(trial: dict[str, Any]) -> None:
    wrong, compared = len(trial["errors"]["rows"]), trial["comparisons"]
    outside = sum(one["p_adjusted"] < 0.05 for one in compared)
    texts = {
        "95",
        "100",
        "1000",
        "1",
        "10",
        "12",
    }  # 95% interval, 95 of 100, 1,000 calls, F1, faint under 10, label numbers
    counted = {str(outside), str(len(compared)), str(wrong), str(wrong - 12), *map(str, range(1, 13)), "2"}
    percentiles = {"50", "99"}
    cells = {str(n) for row in trial["confusion"]["matrix"] for n in row}
    unknown = figures(visible(render_report(trial))) - forms(trial) - texts - counted - percentiles - cells
    assert not unknown


def test_the_headline_figure_follows_the_shipped_approach(trial: dict[str, Any]) -> None:
    tuned = next(one for one in trial["approaches"] if one["name"] == "tuned")
    tuned["accuracy"] = {"value": 0.7777, "low": 0.7333, "high": 0.8111}
    text = visible(render_report(trial))
    assert "77.8% exact match, 95% interval 73.3\u201381.1%, on 452 test rows" in text


def test_the_verdict_answers_whether_tuning_is_worth_it(trial: dict[str, Any]) -> None:
    assert "Fine-tuning is worth it. Ship Tuned (LoRA)." in visible(render_report(trial))
    trial["verdict"] |= {"ship": "classical", "tuning_wins": False}
    assert "Fine-tuning is not worth it here. Ship Classical" in visible(render_report(trial))


def test_the_score_is_told_with_and_without_the_leaked_rows(trial: dict[str, Any]) -> None:
    assert "training row of nearly the same words" not in visible(render_report(trial))
    ship = next(one for one in trial["approaches"] if one["name"] == trial["verdict"]["ship"])
    ship["accuracy"] = {"value": 0.93, "low": 0.9, "high": 0.95}
    ship["accuracy_without_leaked"] = {"value": 0.9125, "low": 0.88, "high": 0.94, "rows": 400}
    trial["data"]["leaked_rows"] = 50
    said = "50 test rows have a training row of nearly the same words: without them,"
    page = visible(render_report(trial))
    assert f"{said} {ship['label']} comes to 91.2% (88.0–94.0%), not 93.0%." in page
    del ship["accuracy_without_leaked"]
    assert "nearly the same words: there is no test row without one." in visible(render_report(trial))


def test_without_a_tuned_approach_nothing_is_said_about_tuning(trial: dict[str, Any]) -> None:
    trial["approaches"] = [one for one in trial["approaches"] if one["family"] != "tuned"]
    trial["verdict"]["ship"] = "classical"
    assert "Fine-tuning is" not in visible(render_report(trial))


def test_a_verdict_that_ships_nothing_says_so(trial: dict[str, Any]) -> None:
    trial["verdict"]["ship"] = None
    assert "Nothing here can be shipped on this evidence." in visible(render_report(trial))


def test_reasons_and_needs_are_on_the_page_word_for_word(trial: dict[str, Any]) -> None:
    text = visible(render_report(trial))
    for sentence in [*trial["verdict"]["because"], *trial["verdict"]["needs"]]:
        assert sentence in text


def test_test_rows_that_were_looked_at_often_are_told_in_the_verdict(trial: dict[str, Any]) -> None:
    assert "looked at once." in visible(render_report(trial))
    trial["data"]["test_looks"] = 6
    assert "looked at 6 times, so often that the figure flatters" in visible(render_report(trial))


def test_a_failed_approach_is_named_with_its_reason(trial: dict[str, Any]) -> None:
    trial["failed"] = [{"name": "hosted", "why": "no answer in 30 s"}]
    assert "hosted: no answer in 30 s" in visible(render_report(trial))


def test_sections_come_in_the_order_of_reading(trial: dict[str, Any]) -> None:
    found = re.findall(r'<section class="section" id="(\w+)"', render_report(trial))
    order = "verdict approaches cost comparisons confidence errors classes learning data run"
    assert found == order.split()


def test_the_surest_mistakes_are_read_first(trial: dict[str, Any]) -> None:
    text = render_report(trial)
    rows = sorted(trial["errors"]["rows"], key=lambda row: -row["confidence"])
    places = [text.index(f"row {row['row']}<") for row in rows]
    assert places == sorted(places)


def test_what_to_label_next_is_on_the_page(trial: dict[str, Any]) -> None:
    trial["errors"]["label_next"] = ["other has only 61 training rows and F1 0.71: label at least 39 more."]
    assert trial["errors"]["label_next"][0] in visible(render_report(trial))


def test_rows_without_a_valid_answer_have_their_own_column(trial: dict[str, Any]) -> None:
    matrix = trial["confusion"]["matrix"]
    trial["confusion"]["matrix"] = [[*row, 0] for row in matrix]
    assert "no valid answer" not in render_report(trial)
    trial["confusion"]["matrix"] = [[*row, 7] for row in matrix]
    assert "Last column: no valid answer." in visible(render_report(trial))


def test_a_curve_among_the_settings_is_not_written_out(trial: dict[str, Any]) -> None:
    trial["approaches"][4]["about"]["curve"] = [{"epoch": 1, "train_loss": 0.123456}]
    assert "0.123456" not in render_report(trial)


def test_the_runner_up_stands_beside_the_shipped_approach(trial: dict[str, Any]) -> None:
    trial["verdict"]["runner_up"] = "prompt"
    assert "F1 of Prompt, no instructions" in visible(render_report(trial))


def test_what_is_dominated_is_not_called_worth_its_price(trial: dict[str, Any]) -> None:
    names = [one.name for one in frontier(read_trial(trial).approaches)]
    assert names == ["majority", "classical", "tuned"]


def test_only_differences_outside_the_noise_are_counted(trial: dict[str, Any]) -> None:
    for one in trial["comparisons"]:
        one["p_adjusted"] = 0.3
    assert "No difference is outside the noise" in visible(render_report(trial))


def test_a_learning_curve_that_levels_off_is_not_called_rising(trial: dict[str, Any]) -> None:
    assert "still rising" in visible(render_report(trial))
    for row in trial["learning_curve"]["rows"]:
        row |= {"accuracy": 0.9, "low": 0.87, "high": 0.93}
    text = visible(render_report(trial))
    assert "still rising" not in text
    assert "the last two intervals overlap" in text


def test_a_metric_that_is_no_share_is_not_written_as_per_cent(trial: dict[str, Any]) -> None:
    trial["metric"] = "rougeL"
    trial["verdict"]["because"] = []
    text = visible(render_report(trial))
    assert "0.934 ROUGE-L" in text
    assert "93.4%" not in text


def test_amounts_carry_the_currency_of_the_trial(trial: dict[str, Any]) -> None:
    trial["currency"] = "₹"
    assert "per 1,000 calls ₹0.00058" in visible(render_report(trial))


# --- user text ------------------------------------------------------------------------------------------------------


def poisoned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key if key.isidentifier() else key + NASTY: poisoned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner) for inner in value]
    return value + NASTY if isinstance(value, str) else value


def test_script_in_any_text_of_the_trial_is_shown_and_never_run(trial: dict[str, Any]) -> None:
    bad = poisoned(trial)
    for finding in bad["data"]["findings"]:
        finding["severity"] = "warn"
    page = render_report(bad)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_label_names_are_escaped_in_charts_too(trial: dict[str, Any]) -> None:
    trial["confusion"]["labels"][0] = NASTY
    trial["approaches"][0]["label"] = '"><svg onload=alert(1)>'
    page = render_report(trial)
    assert "<script" not in page
    assert "<svg onload" not in page


def test_devanagari_stays_as_it_was_written(trial: dict[str, Any]) -> None:
    trial["errors"]["rows"][0]["text"] = "रिफंड अभी तक नहीं आया"
    assert "रिफंड अभी तक नहीं आया" in render_report(trial)


# --- missing parts --------------------------------------------------------------------------------------------------


def holes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything that can be left out, lists by their first entry."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from holes(inner, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from holes(value[0], (*path, 0))


def at(trial: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        trial = trial[step]
    return trial


def without(trial: dict[str, Any], path: tuple[Any, ...], value: Any = ...) -> dict[str, Any]:
    changed: Any = copy.deepcopy(trial)
    inner = at(changed, path[:-1])
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed  # type: ignore[no-any-return]


PATHS = sorted(
    {p for p in holes(json.loads(SAMPLE.read_text(encoding="utf-8"))) if "per_class" not in p or len(p) < 5}, key=str
)


@settings(max_examples=80, deadline=None)
@given(path=st.sampled_from(PATHS), value=st.sampled_from([..., None, float("nan")]))
def test_any_part_may_be_missing_and_any_number_undefined(path: tuple[Any, ...], value: Any) -> None:
    trial = json.loads(SAMPLE.read_text(encoding="utf-8"))
    assume(value in (..., None) or isinstance(at(trial, path), int | float))
    page = render_report(without(trial, path, value))
    assert page.rstrip().endswith("</html>")
    assert ">nan" not in page
    assert ">None<" not in page


@pytest.mark.parametrize("least", [{}, LEAST, {"approaches": []}, {"verdict": {}}, {"approaches": [{"name": "a"}]}])
def test_the_least_of_a_trial_is_still_a_page(least: dict[str, Any]) -> None:
    page = render_report(least)
    assert 'id="run"' in page
    for absent in ("confidence", "errors", "classes", "learning", "data", "comparisons"):
        assert f'id="{absent}"' not in page


def test_ids_stand_in_for_wrong_rows_whose_text_is_not_kept(trial: dict[str, Any]) -> None:
    del trial["errors"]["rows"]
    assert trial["errors"]["examples"][0] in visible(render_report(trial))


def test_an_interval_that_does_not_hold_its_accuracy_is_not_drawn(trial: dict[str, Any]) -> None:
    trial["approaches"][1]["reliability"] = [{"low": 0.9, "high": 1.0, "confidence": 0.95, "accuracy": 0.5, "rows": 40}]
    (one,) = read_trial(trial).approaches[1].bins
    assert (one.accuracy, one.rows, one.low) == (0.5, 40, None)


# --- size -----------------------------------------------------------------------------------------------------------


def large(trial: dict[str, Any]) -> dict[str, Any]:
    """77 labels and 3,000 test rows of which 900 are wrong."""
    names = [f"banking_intent_number_{number}" for number in range(77)]
    table = {name: {"precision": 0.7, "recall": 0.7, "f1": 0.7, "support": 39} for name in names}
    for one in trial["approaches"]:
        one["per_class"] = table
        one["risk_coverage"] = [
            {"threshold": 1 - i / 3000, "coverage": (i + 1) / 3000, "accuracy": 0.9} for i in range(3000)
        ]
    matrix = [[27 if i == j else int(abs(i - j) < 3) * 3 for j in range(78)] for i in range(77)]
    trial["confusion"] = {"labels": names, "approach": "tuned", "matrix": matrix}
    row = {"truth": names[0], "predicted": names[1], "confidence": 0.9, "text": "why was I charged twice? " * 100}
    trial["errors"]["rows"] = [{**row, "id": f"{number:016x}", "row": number} for number in range(900)]
    return trial


def test_a_large_trial_is_a_page_under_400_kilobytes(trial: dict[str, Any]) -> None:
    page = render_report(large(trial))
    assert len(page.encode()) < 400_000
    assert "60 wrong answers, the surest first; all of them are in predictions.parquet" in visible(page)


def test_of_many_labels_only_the_most_confused_are_drawn(trial: dict[str, Any]) -> None:
    text = visible(render_report(large(trial)))
    shown = re.search(r"The (\d+) most confused of 77 labels", text)
    assert shown
    assert 2 <= int(shown.group(1)) <= 20


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_page_is_written_whole(trial: dict[str, Any], tmp_path: Path) -> None:
    written = write_report(trial, tmp_path / "report.html")
    assert written.read_text(encoding="utf-8") == render_report(trial)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_place_that_cannot_be_written_is_told_in_one_line(trial: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError) as told:
        write_report(trial, tmp_path / "report.html")
    assert "\n" not in str(told.value)
