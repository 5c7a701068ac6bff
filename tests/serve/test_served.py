"""What is served is what was judged: the same prompts, answers, confidences and acceptance."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from kasauti.core.errors import UsageError
from kasauti.core.task import load_task
from kasauti.core.types import Ended
from kasauti.data.split import load_split
from kasauti.registry.register import register
from kasauti.registry.release import promote, rollback, try_out
from kasauti.registry.versions import Registry
from kasauti.serve.asked import row_of_conversation, rows_of
from kasauti.serve.served import Both, Question, Served


@pytest.fixture
def tuned(finished_task, tmp_path):
    """(task, the trial's own approach): a task whose version 1 is the adapter, version 2 the classifier."""
    folder, _, trial = finished_task
    copy = Path(shutil.copytree(folder, tmp_path / "task"))
    task = load_task(copy)
    place = next((copy / ".kasauti/approaches").glob("tuned-*")) / "model"
    document = {**trial.document, "verdict": {**trial.document["verdict"], "ship": "tuned"}}
    register(task, dataclasses.replace(trial, document=document, shipped=place, id="tuned"))
    register(task, dataclasses.replace(trial, shipped=copy / trial.shipped.relative_to(folder)))
    return task, place


def test_served_answers_and_prompts_are_those_of_the_trial(tuned):
    from kasauti.approaches.catalogue import make
    from kasauti.approaches.workbench import Workbench

    task, place = tuned
    rows = load_split(task)[0].validation
    judged = make("tuned", Workbench(task)).load(str(place))
    served = Served(task)
    assert served.follow()
    asked, _ = rows_of(task, {"inputs": [{"text": row.fields["text"]} for row in rows]})
    for given, told in zip(served.answer(asked), judged.predict(rows), strict=True):
        assert given.category == told.answer
        assert given.confidence == pytest.approx(told.confidence, abs=1e-6)
    now = served.current.approach
    assert now.asker.prompts([one.row for one in asked]) == judged.asker.prompts(rows)
    turns = [[{"role": "user", "content": row.text}] for row in rows]
    assert now.asker.prompts([row_of_conversation(task, one) for one in turns]) == judged.asker.prompts(rows)


def test_a_rollback_needs_no_load(tuned):
    task, _ = tuned
    registry, served = Registry(task), Served(task)
    served.follow()
    first = served.current
    promote(registry, 2)
    assert served.follow()
    assert served.current.version.number == 2
    rollback(registry)
    assert served.follow()
    assert served.current is first
    assert not served.follow()


def test_a_champion_that_was_changed_does_not_take_the_place_of_the_one_before(tuned):
    task, _ = tuned
    registry, served = Registry(task), Served(task)
    served.follow()
    promote(registry, 2)
    (registry.check(2).folder / "more").write_text("x")
    with pytest.raises(Exception, match="was changed after it was registered"):
        served.follow()
    (row,), _ = rows_of(task, {"text": "my card"})
    assert [one.version for one in served.answer([row])] == [1]


def test_without_a_version_nothing_is_served(make_task):
    task = load_task(make_task(rows=30, test=6))
    with pytest.raises(UsageError, match="there is no version to serve"):
        Served(task).follow()
    with pytest.raises(UsageError, match="nothing is loaded yet"):
        Served(task).answer([Question(row=rows_of(task, {"text": "a"})[0][0].row)])


class Failing:
    """An approach that has stopped working."""

    def predict(self, examples):
        raise RuntimeError("no memory")


def test_a_candidate_that_fails_costs_no_caller_an_answer_and_has_it_told(tuned):
    task, _ = tuned
    served = Served(task)
    try_out(served.registry, 2, 50, shadow=100)
    served.follow()
    asked, _ = rows_of(task, {"inputs": [{"text": "my card", "metadata": {"caller": n}} for n in range(40)]})
    answers = served.answer(asked)
    assert {one.version for one in answers} == {1, 2}
    both = [
        Both(id=f"{n}", asked=one, answered=given) for n, (one, given) in enumerate(zip(asked, answers, strict=True))
    ]
    for one in served.beside(both):
        assert (one.champion.version, one.candidate.version) == (1, 2)
    now = served._now
    served._now = dataclasses.replace(now, candidate=dataclasses.replace(now.candidate, approach=Failing()))
    again = served.answer(asked)
    assert {one.version for one in again} == {1}
    (told,) = served.beside([Both(id="x", asked=asked[0], answered=again[0])])
    assert told.candidate.ended is Ended.FAILED
    assert told.candidate.category == task.fallback


def test_both_answer_the_share_of_the_calls_that_is_wanted(tuned):
    task, _ = tuned
    served = Served(task)
    try_out(served.registry, 2, shadow=20)
    served.follow()
    assert {one.version for one in served.answer(rows_of(task, {"inputs": [{"text": "a"}] * 20})[0])} == {1}
    assert abs(sum(served.asks_both(f"call {n}") for n in range(5000)) / 5000 - 0.2) < 0.02
    rollback(served.registry)
    served.follow()
    assert not served.asks_both("call 1")
