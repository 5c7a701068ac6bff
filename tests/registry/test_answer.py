"""Who answers, and answer files that survive being cut off anywhere."""

import contextlib
import dataclasses
import fcntl
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kasauti.core.errors import DataError, KasautiError, UsageError
from kasauti.core.types import Ended, Prediction
from kasauti.registry import answer
from kasauti.registry.answer import Answerer, answer_file, answer_of, answerer, answering_task, answers, check_file
from kasauti.registry.register import register

ROWS = 1100


class Echo:
    """Answers from the row's own text, and counts what it was asked."""

    name = "echo"

    def __init__(self):
        self.asked = 0

    def predict(self, examples):
        self.asked += len(examples)
        return [Prediction(answer="refund", confidence=(row.row % 10) / 10) for row in examples]


@pytest.fixture
def echo(tried):
    task, _ = tried
    return Answerer(name="echo", task=task, approach=Echo(), threshold=0.5, key="k")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "many.csv"
    path.write_text("text\n" + "".join(f"row {n} with wörds\n" for n in range(ROWS)))
    return str(path)


def write(one, source, out, **more):
    return answer_file(one, source, str(out), check_file(one.task, source).rows, **more)


def test_before_a_version_the_newest_trial_answers_and_then_the_champion(tried):
    task, trial = tried
    first = answerer(task)
    assert first.name == f"trial {trial.id} (classical)"
    entry = next(one for one in trial.document["approaches"] if one["name"] == "classical")
    assert first.threshold == next(one["value"] for one in entry["acceptance"] if one["chosen"])
    assert first.sets.least == tuple(entry["conformal"][0]["least"].values())
    assert answerer(task).key == first.key
    register(task, trial)
    second = answerer(task)
    assert second.name == "version 1 (classical)"
    assert (second.threshold, second.sets) == (first.threshold, first.sets)


def test_the_trial_answers_also_when_its_data_are_gone(tried):
    task, _ = tried
    answerer(task)
    (Path(task.folder) / "train.csv").unlink()
    assert answerer(task).name.startswith("trial")


def test_a_trial_that_was_judged_again_answers_with_what_it_ships_now(shipping):
    task, trial = shipping("majority")
    assert answerer(task).approach.name == "classical"
    again = {**trial.document, "created": "2999-01-01T00:00:00+00:00"}
    (trial.folder / "trial.json").write_text(json.dumps(again))
    one = answerer(task)
    assert one.approach.name == "majority"
    assert {p.answer for p in one.approach.predict([])} == set()


def test_a_trial_whose_approach_was_changed_is_refused(tried):
    task, trial = tried
    answerer(task)
    (trial.shipped / "more").write_text("x")
    with pytest.raises(UsageError, match=r"the saved approach changed since trial .* Run `kasauti trial` again"):
        answerer(task)


def test_data_that_changed_before_the_first_answer_are_told(tried):
    task, _ = tried
    with (Path(task.folder) / "train.csv").open("a") as file:
        file.write("one more row about a card,card\n")
    with pytest.raises(UsageError, match="the data changed since trial"):
        answerer(task)


def test_without_a_trial_nobody_answers(make_task):
    from kasauti.core.task import load_task

    task = load_task(make_task())
    assert answering_task(task) == task
    with pytest.raises(UsageError, match="no version and no finished trial"):
        answerer(task)


def test_a_changed_champion_does_not_answer(tried):
    task, trial = tried
    version = register(task, trial)
    (version.folder / "more").write_text("x")
    with pytest.raises(KasautiError, match="was changed after it was registered"):
        answerer(task)


@pytest.mark.parametrize("fallback", ["card", None])
def test_the_answer_is_always_one_of_the_labels(tried, fallback):
    task = dataclasses.replace(tried[0], fallback=fallback)
    for given_one in (
        Prediction(answer=None, ended=Ended.UNPARSABLE, raw="no idea"),
        Prediction(answer=None, ended=Ended.FAILED),
        Prediction(answer="something else"),
    ):
        assert answer_of(task, given_one) == (fallback or "refund")
    assert answer_of(task, Prediction(answer="parcel")) == "parcel"


def test_lines_come_in_order_with_what_was_asked_for(echo, source):
    made = [line for chunk in answers(echo, source, ROWS) for line in chunk]
    assert [line["row"] for line in made] == list(range(1, ROWS + 1))
    assert all(line["accepted"] == (line["confidence"] >= 0.5) for line in made)
    (first, *_), *_ = answers(echo, source, ROWS, probabilities=True)
    assert first["probabilities"] is None


def test_a_finished_file_has_every_row_and_leaves_nothing_beside_it(echo, source, tmp_path):
    done = write(echo, source, tmp_path / "out")
    lines = (tmp_path / "out").read_text().splitlines()
    assert (done.rows, done.resumed_at, len(lines)) == (ROWS, 0, ROWS)
    assert done.accepted == sum(json.loads(line)["accepted"] for line in lines)
    assert sorted(p.name for p in tmp_path.glob("out*")) == ["out"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1))
def test_a_file_cut_off_at_any_byte_is_gone_on_with_and_ends_the_same(echo, source, tmp_path, cut):
    whole, out = tmp_path / "whole", tmp_path / "out"
    write(echo, source, whole)
    full = whole.read_bytes()
    out.unlink(missing_ok=True)
    mark = answer.content_hash([answer.FORMAT, answer.source_hash(source), echo.key, False, False, False])
    Path(f"{out}.part").write_bytes(full[: round(cut * len(full))])
    Path(f"{out}.part.json").write_text(json.dumps({"key": mark}))
    before = echo.approach.asked
    done = write(echo, source, out)
    assert out.read_bytes() == full
    assert done.resumed_at % answer.CHUNK == 0
    assert echo.approach.asked - before == ROWS - done.resumed_at
    assert done.accepted == sum(json.loads(line)["accepted"] for line in full.splitlines())
    assert not list(tmp_path.glob("out.part*"))


@pytest.mark.parametrize("change", ["input", "answerer", "columns"])
def test_a_part_of_other_answers_is_begun_again(echo, source, tmp_path, change):
    out = tmp_path / "out"

    class Stop(Exception):
        pass

    def stop(stage, done, total, remark=""):
        if done >= 600:
            raise Stop

    with contextlib.suppress(Stop):
        write(echo, source, out, progress=stop)
    assert Path(f"{out}.part").stat().st_size > 0
    one = dataclasses.replace(echo, key="other") if change == "answerer" else echo
    if change == "input":
        Path(source).write_text(Path(source).read_text().replace("row 0", "row zero"))
    done = write(one, source, out, probabilities=change == "columns")
    assert (done.resumed_at, done.rows) == (0, ROWS)


def test_a_part_that_somebody_else_made_is_not_touched(echo, source, tmp_path):
    part = tmp_path / "out.part"
    part.write_text("my own file")
    with pytest.raises(UsageError, match="was not made by this command"):
        write(echo, source, tmp_path / "out")
    assert part.read_text() == "my own file"


def test_two_commands_do_not_write_one_file(echo, source, tmp_path):
    Path(tmp_path / "out.part.json").write_text('{"key": "x"}')
    with open(tmp_path / "out.part", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="is being written by another command"):
            write(echo, source, tmp_path / "out")


def test_bad_rows_have_their_lines_in_their_places(echo, tmp_path):
    """Faults of the format, of the shape and of the columns, before, between and behind good rows of two files."""
    one, two = tmp_path / "many-1.jsonl", tmp_path / "many-2.jsonl"
    one.write_text('{"text"\n' + '{"text": "a"}\n' * 30 + '{"other": "b"}\n[1]\n{"text": "c"}\n"x"\n')
    two.write_text('{"text": "d"}\n' * 300 + "{\n" + '{"text": "e"}\n')
    pattern = str(tmp_path / "many-*.jsonl")
    with pytest.raises(DataError, match=r"many-1.jsonl:1: .*--skip-bad"):
        check_file(echo.task, pattern)
    there = check_file(echo.task, pattern, skip_bad=True)
    assert (there.rows, there.bad) == (337, 5)
    assert there.first_bad[1].startswith(f"{one}:32: there is no column 'text'")
    done = write_skipping(echo, pattern, tmp_path / "out", there.rows)
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [(Path(x["source"]).name, x["row"]) for x in lines] == [
        *(("many-1.jsonl", n) for n in range(1, 36)),
        *(("many-2.jsonl", n) for n in range(1, 303)),
    ]
    assert [x["row"] for x in lines if "error" in x] == [1, 32, 33, 35, 301]
    assert done.bad == 5


def write_skipping(one, source, out, rows):
    return answer_file(one, source, str(out), rows, skip_bad=True)


def test_a_set_holds_the_answer_and_every_label_that_is_probable_enough(echo, source):
    from kasauti.measure.conformal import Conformal

    class Sure:
        def predict(self, examples):
            table = {"refund": 0.6, "card": 0.3, "parcel": 0.1}
            return [Prediction(answer="refund", confidence=0.6, probabilities=table) for _ in examples]

    rule = Conformal(promised=0.9, least=(0.7, 0.2, 0.2), by_label=False, own=(), rows=20)
    one = dataclasses.replace(echo, approach=Sure(), sets=rule)
    (first, *_), *_ = answers(one, source, ROWS, sets=True)
    assert first["labels"] == ["refund", "card"]
    (first, *_), *_ = answers(dataclasses.replace(one, sets=None), source, ROWS, sets=True)
    assert first["labels"] is None


def test_a_trial_of_an_earlier_version_is_to_be_run_again(tried):
    task, trial = tried
    path = trial.folder / "trial.json"
    document = json.loads(path.read_text())
    for one in document["approaches"]:
        del one["acceptance"]
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="made by an earlier version of Kasauti"):
        answerer(task)
