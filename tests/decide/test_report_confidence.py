"""What a confidence is worth, as the report says it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.decide.test_report import SAMPLE, visible

from kasauti.core.paper import words
from kasauti.decide.report import render_report


@pytest.fixture
def trial() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SAMPLE.read_text(encoding="utf-8"))
    return found


def test_what_a_confidence_is_worth_is_shown_beside_the_classical_approach(trial: dict[str, Any]) -> None:
    tuned, classical = (next(a for a in trial["approaches"] if a["name"] == n) for n in ("tuned", "classical"))
    text = visible(render_report(trial))
    for one in (tuned, classical):
        for name in ("confidence", "log_mass"):
            area = one["out_of_scope"]["auroc"][name]
            said = f"{words.fraction(area['value'])} {words.fraction(area['low'])}\u2013{words.fraction(area['high'])}"
            assert said in text
        for part in (*(each["test"] for each in one["acceptance"]), *one["conformal"]):
            share = part["coverage"]
            assert f"{words.percent(share['value'])} {words.interval(share['low'], share['high'])}" in text
    assert "AURC" in text
    assert "was promised" in text


def test_a_threshold_that_accepts_nothing_is_said_to(trial: dict[str, Any]) -> None:
    for one in trial["approaches"]:
        for each in one.get("acceptance") or ():
            each["chosen"] = (each["goal"], each["rule"]) == ("accuracy", "exact")
            each["value"] = None
    assert "no confidence is sure to keep 95% right, so nothing is accepted" in visible(render_report(trial))


def test_without_probabilities_the_section_goes_without_what_needs_them(trial: dict[str, Any]) -> None:
    for one in trial["approaches"]:
        one |= {"acceptance": None, "conformal": None, "out_of_scope": None}
    text = visible(render_report(trial))
    assert "hold the true one" not in text
    assert "AUROC" not in text
    assert "confidence is off by" in text
