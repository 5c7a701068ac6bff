"""Claims about the figures: what counts as given, and agreement with scikit-learn and with hand-made cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, f1_score, precision_recall_fscore_support
from sklearn.metrics import log_loss as sklearn_log_loss

from kasauti.core.errors import DataError, KasautiError
from kasauti.core.types import Ended, Prediction
from kasauti.measure import metrics

labels = st.sampled_from(["a", "b", "c", "refund delayed", "d"])
rows = st.lists(st.tuples(labels, st.one_of(st.none(), labels)), min_size=1, max_size=60)
confidence_rows = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80)


def ended(kind: Ended, answer: str | None = None) -> Prediction:
    return Prediction(answer=answer, ended=kind)


def test_only_answered_rows_count_as_given():
    predictions = [ended(kind, "a") for kind in Ended]
    assert metrics.given_answers(predictions) == ["a", None, None, None]
    assert metrics.accuracy(["a"] * 4, predictions) == 0.25


def test_an_answer_must_match_letter_for_letter(answers):
    assert metrics.accuracy(["a", "a", "a"], answers("a", "A", "a ")) == pytest.approx(1 / 3)


def test_the_fallback_stands_in_for_abstained_and_unparsable_but_not_for_failed():
    predictions = [ended(Ended.ABSTAINED), ended(Ended.UNPARSABLE), ended(Ended.FAILED), ended(Ended.ANSWERED, "c")]
    assert metrics.answers_with_fallback(predictions, "c") == ["c", "c", None, "c"]
    assert metrics.accuracy_with_fallback(["c"] * 4, predictions, "c") == 0.75
    assert metrics.accuracy(["c"] * 4, predictions) == 0.25


def test_without_a_fallback_nothing_stands_in():
    assert metrics.accuracy_with_fallback(["c", "c"], [ended(Ended.ABSTAINED), ended(Ended.ANSWERED, "c")], None) == 0.5


def test_an_answer_outside_the_label_list_is_invalid_whoever_says_it_was_answered(answers):
    predictions = answers("a", "zebra", "b")
    assert metrics.invalid_rate(predictions, ["a", "b"]) == pytest.approx(1 / 3)
    assert metrics.invalid_rate(predictions) == 0.0
    assert metrics.answers_with_fallback(predictions, "b", ["a", "b"]) == ["a", "b", "b"]


def test_abstaining_and_failing_are_not_invalid_but_are_shown():
    predictions = [ended(Ended.ABSTAINED), ended(Ended.FAILED), ended(Ended.UNPARSABLE), ended(Ended.ANSWERED, "a")]
    assert metrics.invalid_rate(predictions) == 0.25
    assert metrics.ending_rates(predictions) == dict.fromkeys(["answered", "abstained", "unparsable", "failed"], 0.25)


@given(rows)
@settings(max_examples=60, deadline=None)
def test_macro_f1_and_per_class_equal_scikit_learn(pairs):
    truth, answers = [t for t, _ in pairs], [a for _, a in pairs]
    said = [a or "(none)" for a in answers]
    table = metrics.per_class(truth, answers)
    names = list(table)
    expected = precision_recall_fscore_support(truth, said, labels=names, zero_division=0)
    for key, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [table[name][key] for name in names] == pytest.approx(list(column))
    assert metrics.macro_f1(truth, answers) == pytest.approx(
        f1_score(truth, said, labels=names, average="macro", zero_division=0)
    )


@given(rows)
@settings(max_examples=60, deadline=None)
def test_the_confusion_matrix_sums_to_the_rows_and_its_diagonal_to_the_right_ones(pairs):
    truth, answers = [t for t, _ in pairs], [a for _, a in pairs]
    matrix = metrics.confusion(truth, answers, ["a", "b"])
    assert sum(map(sum, matrix.counts)) == len(pairs)
    assert sum(row[i] for i, row in enumerate(matrix.counts)) == sum(t == a for t, a in pairs)
    assert matrix.truths[:2] == ("a", "b")
    assert matrix.answers == (*matrix.truths, metrics.NO_ANSWER)


def test_listed_labels_stand_first_and_unseen_ones_have_no_support():
    table = metrics.per_class(["a"], ["b"], ["z", "a"])
    assert list(table) == ["z", "a", "b"]
    assert table["z"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_macro_f1_leaves_out_listed_labels_that_never_occur():
    assert metrics.macro_f1(["a", "b"], ["a", "b"]) == 1.0
    assert metrics.macro_f1(["a", "a"], ["a", "b"]) == pytest.approx((2 / 3 + 0) / 2)


def test_log_loss_and_brier_equal_scikit_learn(answers):
    generator = np.random.default_rng(0)
    table = generator.dirichlet([0.3, 0.3, 0.3], size=40)
    truth = [str(t) for t in generator.choice(["a", "b", "c"], 40)]
    predictions = [
        Prediction(answer="a", probabilities=dict(zip("abc", map(float, row), strict=True))) for row in table
    ]
    assert metrics.log_loss(truth, predictions) == pytest.approx(sklearn_log_loss(truth, table, labels=list("abc")))
    assert metrics.brier(truth, predictions) == pytest.approx(
        brier_score_loss(truth, table, labels=list("abc"), scale_by_half=False)
    )


def test_a_certain_mistake_costs_a_finite_log_loss():
    sure = Prediction(answer="a", probabilities={"a": 1.0, "b": 0.0})
    assert metrics.log_loss(["b"], [sure]) == pytest.approx(52 * math.log(2))
    assert metrics.log_loss(["missing"], [sure]) == pytest.approx(52 * math.log(2))
    assert metrics.brier(["missing"], [sure]) == pytest.approx(2.0)
    assert math.copysign(1, metrics.log_loss(["a"], [sure]) or 0.0) == 1.0


def test_one_row_without_probabilities_leaves_no_log_loss(answers):
    known = Prediction(answer="a", probabilities={"a": 1.0})
    assert metrics.log_loss(["a", "a"], [known, *answers("a")]) is None
    assert metrics.brier(["a", "a"], [known, *answers("a")]) is None


@given(confidence_rows, st.randoms())
@settings(max_examples=60, deadline=None)
def test_calibration_error_lies_in_0_to_1_and_does_not_depend_on_row_order(pairs, shuffler):
    def error(those):
        return metrics.ece(np.array([c for c, _ in those]), np.array([r for _, r in those]))

    turned = list(pairs)
    shuffler.shuffle(turned)
    assert 0 <= error(pairs) <= 1
    assert error(turned) == pytest.approx(error(pairs))


@given(confidence_rows)
@settings(max_examples=60, deadline=None)
def test_calibration_error_is_at_least_the_gap_of_the_means(pairs):
    confidence, right = np.array([c for c, _ in pairs]), np.array([r for _, r in pairs])
    assert metrics.ece(confidence, right) >= abs(confidence.mean() - right.mean()) - 1e-12


def test_a_constant_confidence_is_one_bin():
    confidence, right = np.full(100, 0.7), np.arange(100) < 60
    assert set(metrics.equal_mass_bins(confidence)) == {7}
    assert metrics.ece(confidence, right) == pytest.approx(0.1)


def test_bins_hold_equal_numbers_of_rows():
    counts = np.bincount(metrics.equal_mass_bins(np.random.default_rng(0).random(1500)))
    assert len(counts) == 15
    assert counts.min() >= 99
    assert counts.max() <= 101


def test_a_calibrated_answerer_of_400_rows_shows_the_error_that_the_docstring_names():
    generator = np.random.default_rng(0)
    confidence = generator.beta(4, 1.2, (200, 400))
    right = generator.random((200, 400)) < confidence
    assert np.mean([metrics.ece(c, r) for c, r in zip(confidence, right, strict=True)]) == pytest.approx(
        0.056, abs=0.005
    )


def test_confidences_leave_out_rows_without_one_and_refuse_what_is_no_probability(answers):
    truth, predictions = ["a", "a", "b"], answers("a", "b", "b", confidence=[0.9, None, 0.4])
    confidence, right = metrics.confidences(truth, predictions)
    assert confidence.tolist() == [0.9, 0.4]
    assert right.tolist() == [True, True]
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(KasautiError, match="not between 0 and 1"):
            metrics.confidences(["a"], answers("a", confidence=[wrong]))


def test_latency_is_in_milliseconds(answers):
    predictions = [p for s in range(1, 101) for p in answers("a", seconds=s / 1000)]
    assert metrics.latency_ms(predictions) == pytest.approx({"p50": 50.5, "p95": 95.05, "p99": 99.01})


def test_lists_that_do_not_fit_and_empty_ones_are_refused(answers, examples):
    with pytest.raises(KasautiError, match="2 expected answers but 1 given"):
        metrics.accuracy(["a", "b"], answers("a"))
    for empty in (lambda: metrics.accuracy([], []), lambda: metrics.truth_of([]), lambda: metrics.latency_ms([])):
        with pytest.raises(DataError):
            empty()
    with pytest.raises(DataError, match=r"t\.csv 2: the row has no target"):
        metrics.truth_of(examples("a", None))
    with pytest.raises(KasautiError, match="no row has a confidence"):
        metrics.ece(np.array([]), np.array([], dtype=bool))
