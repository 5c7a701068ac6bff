"""Claims about error analysis."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.types import Prediction
from kasauti.measure import slices

rows = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["a", "b", "c", None])), min_size=1, max_size=60)


def test_confused_pairs_come_with_count_and_share_of_the_errors(answers):
    pairs = slices.confused_pairs(list("aaabbc"), answers("b", "b", "a", "a", "b", None))
    assert pairs == [
        {"truth": "a", "predicted": "b", "count": 2, "share_of_errors": 0.5},
        {"truth": "b", "predicted": "a", "count": 1, "share_of_errors": 0.25},
        {"truth": "c", "predicted": "(unparsable)", "count": 1, "share_of_errors": 0.25},
    ]


@given(pairs=rows)
@settings(max_examples=60, deadline=None)
def test_the_shares_of_all_pairs_sum_to_one(answers, pairs):
    truth = [t for t, _ in pairs]
    found = slices.confused_pairs(truth, answers(*[a for _, a in pairs]), top=100)
    errors = sum(t != a for t, a in pairs)
    assert sum(p["count"] for p in found) == errors
    assert not errors or abs(sum(p["share_of_errors"] for p in found) - 1) < 1e-9
    assert [p["count"] for p in found] == sorted((p["count"] for p in found), reverse=True)


def test_the_surest_mistakes_are_read_first_and_no_pair_crowds_out_the_others(answers, examples):
    truth = ["a"] * 6 + ["b"]
    predictions = answers(*"bbbbba", "c", confidence=[0.5, 0.9, 0.8, 0.7, 0.6, 0.99, 0.3])
    wrong = slices.wrong_examples(examples(*truth), predictions, per_pair=2)
    assert [w["row"] for w in wrong] == [2, 3, 7]
    assert wrong[0] == {
        "id": f"{1:016x}",
        "row": 2,
        "text": "text 1",
        "truth": "a",
        "predicted": "b",
        "confidence": 0.9,
    }


@given(pairs=rows, top=st.integers(1, 20), per_pair=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_only_wrong_rows_are_read_and_never_more_than_asked(answers, examples, pairs, top, per_pair):
    wrong = slices.wrong_examples(
        examples(*[t for t, _ in pairs]), answers(*[a for _, a in pairs]), top=top, per_pair=per_pair
    )
    assert len(wrong) <= top
    assert len({w["id"] for w in wrong}) == len(wrong)
    assert all(w["truth"] != w["predicted"] for w in wrong)


def test_weak_labels_say_what_they_are_lost_to(answers):
    weak = slices.weak_labels(list("aaaabbbb"), answers(*"aaabbbbb"))
    assert [w["label"] for w in weak] == ["a", "b"]
    assert weak[0]["lost_to"] == "b"
    assert weak[0]["support"] == 4
    assert weak[0]["recall"] == 0.75
    assert weak[0]["low"] < 0.75 < weak[0]["high"]
    assert weak[1]["lost_to"] is None


def test_labels_that_are_perfect_or_never_occur_are_not_weak(answers):
    assert [w["label"] for w in slices.weak_labels(list("aab"), answers("a", "zebra", "b"))] == ["a"]
    assert slices.weak_labels(list("ab"), answers("a", "b")) == []


def test_what_to_label_next_names_pairs_both_ways_thin_labels_and_missing_answers(answers):
    truth = ["a"] * 10 + ["b"] * 10 + ["c"]
    predictions = answers(*["b"] * 4, *["a"] * 6, *["a"] * 2, *["b"] * 8, None)
    sentences = slices.label_next(truth, predictions, {"a": 500, "b": 300, "c": 3})
    assert sentences[0].startswith("4 of 7 errors (57%) are a answered as b, and 2 the other way round")
    assert any(s.startswith("c has only 3 training rows and F1 0.00: label at least 17 more") for s in sentences)
    assert any("1 of 7 errors (14%) are rows without a valid answer" in s for s in sentences)


def test_without_errors_or_with_scattered_ones_that_is_said(answers):
    assert "Every row is answered right" in slices.label_next(["a"], answers("a"))[0]
    assert "spread thinly" in slices.label_next(list("abc"), answers("b", "c", "c"))[0]


def test_a_failed_row_is_shown_by_its_ending():
    from kasauti.core.types import Ended

    failed = [Prediction(answer=None, ended=Ended.FAILED)]
    assert slices.confused_pairs(["a"], failed)[0]["predicted"] == "(failed)"
