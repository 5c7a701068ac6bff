"""The plan: counted where it can be counted, measured where it cannot."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.chat.template import freeze
from kasauti.core.errors import ModelError
from kasauti.core.task import load_task
from kasauti.data.split import load_split
from kasauti.model.load import load, load_tokenizer
from kasauti.train.plan import activations, make_plan, padded, total_steps
from kasauti.train.recipe import Recipe

LLAMA_8B = SimpleNamespace(
    hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, intermediate_size=14336,
    vocab_size=128256,
)  # fmt: skip


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
    attached = adapters.attach(model, adapters.LoraSettings(r=4), 0)
    assert plan.trainable == adapters.count(attached)[0]


def test_full_training_trains_everything_and_needs_more_memory(planned):
    _, _, plan = planned(method="full")
    assert plan.trainable == plan.parameters
    assert plan.memory.optimizer == 8 * plan.parameters
    parts = dataclasses.asdict(plan.memory)
    assert parts.pop("total") == sum(parts.values())


def test_time_is_measured_and_grows_with_the_epochs(planned):
    _, _, plan = planned(timed=True)
    assert plan.tokens_per_second > 0
    rate = plan.tokens_per_second
    least = plan.tokens * plan.recipe["epochs"] / rate
    assert least <= plan.seconds < 3 * least
    assert plan.cost == pytest.approx(plan.seconds / 3600 * plan.price_per_hour)


def test_without_timing_there_is_no_time_and_no_cost(planned):
    _, _, plan = planned()
    assert (plan.seconds, plan.cost, plan.tokens_per_second) == (None, None, None)
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


def test_an_8b_model_with_checkpointing_keeps_about_two_gigabytes_at_batch_4():
    # 32 layers x 2,048 tokens x 4,096 x 2 bytes = 0.54 GB of layer inputs, one layer and the logits on top
    kept = activations(LLAMA_8B, 4 * 512, 512, 2, checkpointing=True)
    assert 0.54e9 < kept < 2e9
    assert activations(LLAMA_8B, 4 * 512, 512, 2, checkpointing=False) > 8 * kept


def test_checkpointing_never_needs_more_and_longer_rows_never_less():
    for length in (64, 128, 256, 512):
        kept = activations(LLAMA_8B, 4 * length, length, 2, True)
        assert kept < activations(LLAMA_8B, 4 * length, length, 2, False)
        assert kept < activations(LLAMA_8B, 8 * length, 2 * length, 2, True)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=80), st.integers(1, 32))
def test_padding_adds_and_one_row_a_batch_adds_none(lengths, batch):
    assert padded(lengths, 1) == sum(lengths)
    assert sum(lengths) <= padded(lengths, batch) <= max(lengths) * len(lengths)


@given(rows=st.integers(1, 5000), batch=st.integers(1, 64), epochs=st.integers(1, 6))
def test_steps_cover_every_row_in_every_epoch(rows, batch, epochs):
    steps = total_steps(rows, Recipe(batch=batch, micro_batch=batch, epochs=float(epochs)))
    assert rows * epochs <= steps * batch < (rows + batch) * epochs
