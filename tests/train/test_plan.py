"""The plan: counted where it can be counted, measured where it cannot."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.chat.template import freeze
from kasauti.core.errors import ModelError
from kasauti.core.task import load_task
from kasauti.data.split import load_split
from kasauti.model.load import load, load_tokenizer
from kasauti.train.calibrate import Judged
from kasauti.train.plan import make_plan, total_steps
from kasauti.train.recipe import Recipe


@pytest.fixture
def planned(make_task):
    """`planned(train={…}, timed=True)`: task and plan."""

    def build(timed=False, **settings):
        task = load_task(make_task(rows=120))
        task = dataclasses.replace(task, train={**task.train, **settings})
        split, _ = load_split(task)
        tokenizer = load_tokenizer(task.model, task.folder)
        fresh = (lambda: load(task.model, task.folder, device="cpu")) if timed else None
        plan = make_plan(task, split.train, split.validation_choose, freeze(tokenizer), tokenizer, load=fresh)
        return task, split, plan

    return build


def test_tokens_and_steps_are_exact(planned):
    from kasauti.chat.supervise import supervise
    from kasauti.data.conversation import messages

    task, split, plan = planned(epochs=3)
    tokenizer = load_tokenizer(task.model, task.folder)
    frozen = freeze(tokenizer)
    made = [supervise(frozen, tokenizer, messages(task, r, with_answer=False), r.answer) for r in split.train]
    assert plan.tokens == sum(len(row.ids) for row in made)
    assert plan.supervised_tokens == sum(label != -100 for row in made for label in row.labels)
    assert plan.longest == max(len(row.ids) for row in made)
    assert plan.steps == 3 * math.ceil(len(split.train) / 16)
    assert (plan.rows, plan.validation_rows) == (len(split.train), len(split.validation_choose))


def test_parameters_are_those_of_the_real_adapter(planned):
    from kasauti.model import adapters

    task, _, plan = planned()
    model = load(task.model, task.folder, device="cpu").model
    assert plan.parameters == adapters.count(model)[1]
    attached = adapters.attach(model, adapters.LoraSettings(r=4, embeddings=True), 0)  # a small model
    assert plan.trainable == adapters.count(attached)[0]


def test_full_training_trains_everything_and_needs_more_memory(planned):
    _, _, plan = planned(method="full")
    assert plan.trainable == plan.parameters
    assert plan.memory.optimizer == 8 * plan.parameters
    parts = dataclasses.asdict(plan.memory)
    assert parts.pop("total") == sum(parts.values())


def test_time_and_memory_are_measured_and_time_grows_with_the_epochs(planned):
    _, _, plan = planned(timed=True)
    rate = plan.tokens_per_second
    assert rate > 0
    own = plan.supervised_tokens  # what rows share counts once a pass, and what they are taught is never shared here
    assert plan.seconds >= own * plan.recipe["epochs"] / rate
    assert plan.cost == pytest.approx(plan.seconds / 3600 * plan.price_per_hour)
    assert plan.peak > plan.memory.weights
    assert plan.fits is (plan.peak <= plan.free)


def test_the_tokens_of_an_epoch_are_those_of_the_trainers_own_batches(planned, tmp_path):
    from kasauti.core.types import Supervised
    from kasauti.train.calibrate import epoch_batches
    from kasauti.train.trainer import rehearsal

    task, _, _ = planned()
    loaded = load(task.model, task.folder, device="cpu")
    end = loaded.tokenizer.eos_token_id
    rows = [
        Supervised(ids=(*[5] * n, end), labels=(*[-100] * n, end), prefix_length=n) for n in (2, 3, 9, 4, 4, 4, 7, 2)
    ]
    given = {"tokenizer": loaded.tokenizer, "end_ids": (end,)}
    plain = sum(len(row.ids) for row in rows)

    def tokens(batch, sharing):
        recipe = Recipe(batch=batch, micro_batch=batch, prefix_sharing=sharing, gradient_checkpointing=False)
        with rehearsal(loaded.model, rows, rows[:1], recipe, tmp_path, **given) as trainer:
            return epoch_batches(trainer)[0]

    for sharing in ("auto", "never"):
        assert tokens(1, sharing) == plain
    packed, padded = tokens(4, "auto"), tokens(4, "never")
    assert packed < plain < padded <= 10 * len(rows)


def test_without_timing_there_is_no_time_and_no_cost(planned):
    _, _, plan = planned()
    assert (plan.seconds, plan.cost, plan.tokens_per_second, plan.peak) == (None, None, None, None)
    assert plan.fits


def test_rows_over_the_length_are_counted(planned):
    _, _, plan = planned(length=70)
    assert plan.shortened > 0
    assert plan.longest <= 70


def test_a_configuration_that_cannot_be_read_is_one_line(make_task, tiny_model, tmp_path):
    import shutil

    model = shutil.copytree(tiny_model, tmp_path / "odd")
    (model / "config.json").write_text('{"model_type": "never-heard-of"}')
    task = load_task(make_task(model=str(model)))
    split, _ = load_split(task)
    tokenizer = load_tokenizer(str(tiny_model), task.folder)
    with pytest.raises(ModelError, match="the configuration of"):
        make_plan(task, split.train, split.validation_choose, freeze(tokenizer), tokenizer)


@given(rows=st.integers(1, 5000), batch=st.integers(1, 64), epochs=st.integers(1, 6))
def test_steps_cover_every_row_in_every_epoch(rows, batch, epochs):
    steps = total_steps(rows, Recipe(batch=batch, micro_batch=batch, epochs=float(epochs)))
    assert rows * epochs <= steps * batch < (rows + batch) * epochs


class Slow:
    """A network that takes a fixed time and a time for every row, by a clock of its own."""

    def __init__(self, fixed, each):
        self.fixed, self.each, self.asked, self.now = fixed, each, [], 0.0

    def evaluation(self, rows):
        def evaluate(network):
            self.asked.append(len(rows))
            self.now += self.fixed + self.each * len(rows)
            return {}

        return evaluate

    def seconds(self, rows, most):
        return Judged(self.evaluation, list(range(rows)), rows).seconds(None, most, lambda: self.now)


@given(fixed=st.floats(0.0, 0.5), each=st.floats(1e-4, 1e-2), rows=st.integers(1, 4000))
def test_an_evaluation_is_timed_on_some_rows_and_what_all_share_counts_once(fixed, each, rows):
    slow = Slow(fixed, each)
    wanted = fixed + each * rows
    found = slow.seconds(rows, most=1.0)
    # with time for one look only, what all share cannot be told from what each takes
    assert found == pytest.approx(wanted, rel=1e-6) if len(slow.asked) > 1 else found >= wanted - 1e-9
    assert slow.now <= 1.0 or len(slow.asked) == 1


def test_an_evaluation_of_few_rows_is_timed_whole():
    quick = Slow(0.01, 0.0)
    assert quick.seconds(20, most=1.0) == pytest.approx(0.01)
    assert quick.asked == [8, 16, 20]
