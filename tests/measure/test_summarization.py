"""Claims about ROUGE: words of every script count, and figures are the package's where its own words are right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from kasauti.core.types import Ended, Prediction, Scoring
from kasauti.measure.compare import compare_scores
from kasauti.measure.kinds import judge
from kasauti.measure.kinds.summarization import TYPES, grade, words

ENGLISH = st.lists(st.sampled_from(["the", "refund", "was", "late", "Card", "blocked", "7", "days."]), min_size=1)


@pytest.fixture
def summaries(task):
    return replace(task, kind="summarization", labels={}, fallback=None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("रिफंड की तारीख़ निकल गई, हिंदी में!", ["रिफंड", "की", "तारीख़", "निकल", "गई", "हिंदी", "में"]),
        ("क्‍या श्रीमती", ["क्या", "श्रीमती"]),
        ("பணம் திரும்ப", ["பணம்", "திரும்ப"]),
        ("The CARD—blocked, don't", ["the", "card", "blocked", "don", "t"]),
        ("₹５００ refund", ["500", "refund"]),
        ("返金 しました", ["返", "金", "し", "ま", "し", "た"]),
        ("cafe\u0301 café", ["café", "café"]),
        ("👍 👎", ["👍", "👎"]),
        (" \n", []),
    ],
)
def test_words_of_every_script_stay_whole(text, expected):
    import unicodedata

    assert words(text) == [unicodedata.normalize("NFKC", word) for word in expected]


@given(text=st.text(max_size=60))
def test_a_text_with_anything_in_it_is_all_of_itself(text, task_of_summaries):
    grades = task_of_summaries([text], [text])
    assert grades.scores[0] == (1.0 if words(text) else 0.0)


@pytest.fixture(scope="module")
def task_of_summaries(task, examples):
    def run(truth, said):
        predictions = [Prediction(answer=a) for a in said]
        return grade(replace(task, kind="summarization"), examples(*truth), predictions)

    return run


@given(ENGLISH, ENGLISH)
def test_for_english_the_figures_are_the_packages_own(a, b):
    expected = RougeScorer(list(TYPES)).score(" ".join(a), " ".join(b))
    from kasauti.measure.kinds.summarization import Words

    ours = RougeScorer(list(TYPES), tokenizer=Words()).score(" ".join(a), " ".join(b))
    assert ours == expected


def test_two_equal_texts_in_hindi_score_one_and_a_wrong_code_mixed_one_does_not(task_of_summaries):
    truth = ["रिफंड अभी तक नहीं आया", "UPI से पैसा कट गया"]
    said = ["रिफंड अभी तक नहीं आया", "UPI का पिन भूल गया हूँ"]
    scores = task_of_summaries(truth, said).scores
    assert scores[0] == 1.0
    assert 0 < scores[1] < 0.5


def test_figures_have_bootstrap_intervals_and_rows_without_an_answer_score_nothing(summaries, examples):
    truth = ["the refund was late", "the card was blocked", "no parcel came", "pin forgotten"]
    said = [Prediction(answer="the refund was late"), Prediction(answer="a card is blocked"),
            Prediction(answer="x", ended=Ended.FAILED), Prediction(answer="")]  # fmt: skip
    judged = judge(summaries, examples(*truth), said)
    assert judged["metric"] == "rougeL"
    assert judged["accuracy"] == judged["rouge"]["rougeL"]
    assert judged["accuracy"]["value"] == pytest.approx((1 + 0.5) / 4)
    assert judged["rouge"]["rouge2"]["value"] == pytest.approx(1 / 4)
    assert 0 <= judged["accuracy"]["low"] < judged["accuracy"]["value"] < judged["accuracy"]["high"] <= 1
    assert judged["ece"] is None
    assert judged == judge(summaries, examples(*truth), said)


def test_the_fallback_is_graded_where_the_caller_receives_it(summaries, examples):
    task = replace(summaries, fallback="nothing to say")
    said = [Prediction(answer=None, ended=Ended.ABSTAINED), Prediction(answer=None, ended=Ended.FAILED)]
    judged = judge(task, examples("nothing to say", "nothing to say"), said)
    assert judged["accuracy"]["value"] == 0.0
    assert judged["accuracy_with_fallback"] == 0.5


def test_the_users_metric_decides_and_rouge_stays_beside_it(summaries, examples, tmp_path):
    (tmp_path / "short.py").write_text("def few_words(answer, expected):\n    return len(answer.split()) <= 2\n")
    task = replace(summaries, folder=str(tmp_path), scoring=Scoring(metric="short:few_words"))
    judged = judge(task, examples("a b c", "a b c"), [Prediction(answer="a b"), Prediction(answer="a b c")])
    assert judged["metric"] == "short:few_words"
    assert judged["accuracy"]["value"] == 0.5
    assert judged["rouge"]["rouge1"]["value"] == pytest.approx(0.9)


def test_two_summarisers_are_compared_by_their_rows(task_of_summaries):
    truth = [f"refund number {i} was late by seven days" for i in range(40)]
    good, poor = task_of_summaries(truth, truth).scores, task_of_summaries(truth, ["refund was late"] * 40).scores
    (comparison,) = compare_scores({"good": good, "poor": poor})
    assert comparison.test == "paired_bootstrap"
    assert comparison.difference == pytest.approx(good.mean() - poor.mean())
    assert comparison.low > 0.3
    assert comparison.p_value < 0.001
    assert comparison.only_a == 40
