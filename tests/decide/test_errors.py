"""What a trial says of the errors: labels that may be wrong, and what to label next."""

import dataclasses

from kasauti.core.types import Ended, Example, Prediction
from kasauti.decide.errors import likely_label_errors, next_labels

LABELS = ("late", "twice", "other")


def rows(answers: list[str], text: str = "my refund is late") -> list[Example]:
    return [
        Example(id=f"{at}", fields={"text": text}, template="{text}", answer=answer, source="t.csv", row=at + 1)
        for at, answer in enumerate(answers)
    ]


def said(answer: str, sure: float = 0.99) -> Prediction:
    rest = (1 - sure) / (len(LABELS) - 1)
    return Prediction(answer=answer, confidence=sure, probabilities={x: sure if x == answer else rest for x in LABELS})


KNOWN = {"my", "refund", "is", "late"}


def test_a_label_that_every_witness_doubts_is_listed_with_their_suggestion():
    test = rows(["late", "late", "twice"])
    given = [said("late"), said("twice", 0.9), said("late")]
    [found] = likely_label_errors(test, given, {"classical": given, "tuned": given}, KNOWN)
    assert (found["row"], found["truth"], found["suggested"]) == (3, "twice", "late")
    assert found["probability"] < 0.02


def test_witnesses_who_disagree_or_rows_of_new_words_or_read_by_a_person_are_no_ground_for_doubt():
    test, given = rows(["twice"]), [said("late")]
    assert likely_label_errors(test, given, {"a": given}, KNOWN)
    assert not likely_label_errors(test, given, {"a": given, "b": [said("other")]}, KNOWN)
    assert not likely_label_errors(rows(["twice"], "utterly strange words"), given, {"a": given}, KNOWN)
    assert not likely_label_errors([dataclasses.replace(test[0], reviewed=True)], given, {"a": given}, KNOWN)
    assert not likely_label_errors(test, [Prediction(answer=None, ended=Ended.FAILED)], {"a": given}, KNOWN)
    assert not likely_label_errors(test, given, {}, KNOWN)


def test_what_to_label_next_counts_both_ways_of_a_pair_and_names_weak_slices():
    truth = ["late"] * 4 + ["twice"] * 3 + ["other"]
    given = [said("twice")] * 3 + [said("late")] + [said("late")] * 2 + [said("twice")] + [said("late")]
    pairs = [{"truth": "late", "predicted": "twice", "words_for_truth": ["refund"], "words_for_predicted": ["charged"]}]
    slices = [
        {"slice": "long", "kind": "length", "weak": True, "errors": 9},
        {"slice": "short", "kind": "length", "weak": False, "errors": 9},
        {"slice": "unsure", "kind": "confidence", "weak": True, "errors": 9},
    ]
    weak, pair = next_labels(truth, given, {"late": 7, "twice": 5}, pairs, slices)
    assert (weak["slice"], weak["labels"]) == ("long", [])
    assert (pair["labels"], pair["errors"]) == (["late", "twice"], 5)
    assert pair["training_rows"] == {"late": 7, "twice": 5}
    assert pair["look_for"] == ["refund", "charged"]
    assert pair["share_of_errors"] == 5 / 6
