"""Which answers are accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.types import Ended, Example, Prediction
from kasauti.registry.threshold import choose_threshold, is_accepted


class Known:
    """An approach whose answers are known: it is right on the rows with an even number."""

    def __init__(self, confidence):
        self.confidence = confidence

    def predict(self, examples):
        assert all(row.answer is None for row in examples)
        return [Prediction(answer="ab"[row.row % 2], confidence=self.confidence[row.row]) for row in examples]


def rows(count):
    return [Example(id=str(n), fields={}, template="", answer="a", row=n) for n in range(count)]


def test_the_lowest_confidence_that_keeps_the_wanted_accuracy():
    confidence = [0.9, 0.3, 0.8, 0.4, 0.7, 0.2]
    threshold = choose_threshold(Known(confidence), rows(6))
    assert (threshold.value, threshold.accuracy, threshold.coverage) == (0.7, 1.0, 0.5)


def test_without_such_a_confidence_nothing_is_accepted():
    threshold = choose_threshold(Known([0.1, 0.9, 0.2, 0.8]), rows(4))
    assert threshold.value is None
    assert not is_accepted(Prediction(answer="a", confidence=1.0), threshold.value)


@pytest.mark.parametrize(
    "given",
    [
        Prediction(answer=None, ended=Ended.UNPARSABLE, confidence=1.0),
        Prediction(answer=None, ended=Ended.ABSTAINED),
        Prediction(answer="a", confidence=None),
        Prediction(answer="a", confidence=0.49),
    ],
)
def test_what_is_no_sure_answer_is_not_accepted(given):
    assert not is_accepted(given, 0.5)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60))
def test_accepted_rows_are_as_right_as_wanted_on_the_rows_that_chose_them(confidence):
    known, some = Known(confidence), rows(len(confidence))
    threshold = choose_threshold(known, some, 0.8)
    given_rows = known.predict([Example(id="", fields={}, template="", answer=None, row=row.row) for row in some])
    kept = [p.answer == "a" for p in given_rows if is_accepted(p, threshold.value)]
    assert not kept or sum(kept) / len(kept) >= 0.8
