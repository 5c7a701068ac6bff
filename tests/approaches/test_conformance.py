"""One contract for everything that can answer: held over every name in the catalogue."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.approaches.conftest import Place

from kasauti.approaches.catalogue import CATALOGUE, make
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import ModelError
from kasauti.core.types import Approach, Ended, Example, Prediction
from kasauti.decide.fitted import asks_network, fit_and_answer
from kasauti.decide.verdict import SIMPLICITY

NAMES = [name for name, entry in CATALOGUE.items() if entry.place]
"""Everything that answers with labels."""


class Guarded(Sequence[Example]):
    """Test rows that may not be looked at before the fit is finished."""

    def __init__(self, rows: Sequence[Example], task_folder: str, name: str) -> None:
        self.rows, self.folder, self.name = rows, Path(task_folder), name

    def __getitem__(self, at: Any) -> Any:
        assert list(self.folder.glob(f".kasauti/approaches/{self.name}-*/fitted.json")), (
            "a test row was read before the fit was finished"
        )
        return self.rows[at]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Fitted:
    """An approach, fitted once for all tests of this file."""

    place: Place
    approach: Approach
    predictions: list[Prediction]


@pytest.fixture(scope="module", params=NAMES)
def fitted(request: pytest.FixtureRequest, place: Callable[..., Place], tiny_embedder: Path) -> Fitted:
    here = place(f"embedding_model: {tiny_embedder}\n")
    split = here.split
    approach = make(request.param, here.bench).fit(split.train, split.validation_choose, split.validation_calibrate)
    return Fitted(here, approach, approach.predict(split.test))


def assert_alike(found: Sequence[Prediction], wanted: Sequence[Prediction], within: float = 1e-5) -> None:
    """The same answers with the same probabilities; seconds are not compared."""
    assert [p.answer for p in found] == [p.answer for p in wanted]
    assert [p.ended for p in found] == [p.ended for p in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=within)
        assert one.confidence == pytest.approx(other.confidence, abs=within)


def test_name_and_family_are_those_of_the_catalogue(fitted):
    approach = fitted.approach
    assert CATALOGUE[approach.name].family == approach.family
    assert approach.family in SIMPLICITY


def test_another_fit_with_poisoned_test_rows_that_are_read_only_afterwards_answers_the_same(
    fitted, place, tiny_embedder
):
    """Neither the test rows nor chance change a fit: same rows, same seed, other folder, all test answers wrong."""
    here, name = place(f"embedding_model: {tiny_embedder}\n"), fitted.approach.name
    labels = list(here.task.labels)
    poisoned = [
        dataclasses.replace(row, answer=labels[(labels.index(row.answer) + 1) % len(labels)]) for row in here.split.test
    ]
    split = dataclasses.replace(here.split, test=Guarded(poisoned, here.task.folder, name))
    assert_alike(fit_and_answer(here.bench, split, name).predictions, fitted.predictions)


def test_one_prediction_a_row_in_order_however_the_rows_are_cut(fitted):
    rows, predict = fitted.place.split.test, fitted.approach.predict
    assert_alike(predict(rows[::-1]), fitted.predictions[::-1])
    assert_alike([predict([row])[0] for row in rows[:3]], fitted.predictions[:3])
    assert predict([]) == []


def test_answers_in_the_rows_are_not_read(fitted):
    blind = [dataclasses.replace(row, answer=None, id="", group=None) for row in fitted.place.split.test]
    assert_alike(fitted.approach.predict(blind), fitted.predictions)


def test_every_answer_is_a_label_and_its_probability_the_largest_of_all_labels(fitted):
    labels = list(fitted.place.task.labels)
    for one in fitted.predictions:
        assert one.ended is Ended.ANSWERED
        assert list(one.probabilities) == labels
        assert sum(one.probabilities.values()) == pytest.approx(1.0, abs=1e-9)
        assert all(0 <= p <= 1 for p in one.probabilities.values())
        assert one.confidence == one.probabilities[one.answer] == max(one.probabilities.values())
        assert one.seconds >= 0


def test_what_was_saved_answers_the_same_when_it_is_loaded_elsewhere(fitted, tmp_path):
    fitted.approach.save(str(tmp_path))
    again = make(fitted.approach.name, Workbench(fitted.place.task)).load(str(tmp_path))
    assert_alike(again.predict(fitted.place.split.test), fitted.predictions, within=1e-9)
    assert dict(again.about()) == dict(fitted.approach.about())


def test_what_was_chosen_can_be_told_as_json(fitted):
    about = dict(fitted.approach.about())
    assert about
    assert json.loads(json.dumps(about, allow_nan=False)) == about


def test_free_generation_gives_one_text_a_row_and_answers_only_with_labels(fitted):
    if not hasattr(fitted.approach, "generate"):
        pytest.skip("it writes no text")
    rows = fitted.place.split.test[:4]
    made = fitted.approach.generate(rows)
    assert len(made) == len(rows)
    for one in made:
        valid = one.ended is Ended.ANSWERED
        assert one.ended in (Ended.ANSWERED, Ended.UNPARSABLE)
        assert one.answer == (one.raw if valid else None)
        assert not valid or one.answer in fitted.place.task.labels
        assert one.input_tokens > 0
        assert one.output_tokens > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_constructor_does_nothing_and_the_fit_says_what_is_wrong_with_the_model(place, tiny_embedder, name):
    here = place(f"embedding_model: {tiny_embedder}\n")
    bench = Workbench(dataclasses.replace(here.task, model="./absent"))
    approach = make(name, bench)
    split = here.split
    if not asks_network(here.task, name):
        approach.fit(split.train, split.validation_choose, split.validation_calibrate)
        return
    with pytest.raises(ModelError, match="absent"):
        approach.fit(split.train, split.validation_choose, split.validation_calibrate)
