"""`kasauti doctor`: what is wrong, why and what to type; nothing for a healthy folder."""

from __future__ import annotations

import json

import pytest


def test_a_healthy_folder(kasauti, finished):
    ran = kasauti("doctor", "--task", finished)
    assert ran.code == 0
    assert "Nothing is wrong with what was looked at." in ran.out
    assert "Not looked at: calls: there is no call log" in ran.out


def test_a_finding_says_what_to_type_and_the_code_is_1(kasauti, finished):
    ran = kasauti("doctor", "--task", finished, "--response-template", "### Response:")
    assert ran.code == 1
    assert ran.out.startswith("1. response template (stop, train): ")
    assert "What to do: Train with `kasauti train`" in ran.out


def test_texts_of_another_model_are_looked_at(kasauti, finished, tmp_path):
    lines = [json.dumps({"text": f"refund. The customer {n}"}) for n in range(5)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    ran = kasauti("doctor", "--task", finished, "--json", "--generated", tmp_path / "texts.jsonl")
    assert ran.code == 1
    (found,) = ran.document["findings"]
    assert found["check"] == "continues"
    assert found["count"] == 5


@pytest.mark.parametrize("option", ["--run", "--rows", "--generated"])
def test_a_file_that_is_not_there_is_one_line_and_2(kasauti, finished, option):
    ran = kasauti("doctor", "--task", finished, option, "nowhere")
    assert ran.code == 2
    assert "nowhere: there is no such" in ran.error_line
