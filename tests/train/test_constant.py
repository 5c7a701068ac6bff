"""The constant prefix: cached keys and values give the gradient and the answers of an adapter masked off there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import killing
from tests.conftest import complaints, task_text, write_rows
from tests.tiny import ARCHITECTURES, END, SLIDING, fresh_network
from tests.train.test_attention import Row, drawn, gradient, plain_loss
from tests.train.test_sharing import made as unpackable

from kasauti.approaches.tuned import Tuned
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import ModelError, TaskError
from kasauti.core.task import load_task
from kasauti.core.types import Supervised
from kasauti.data.split import load_split
from kasauti.model.activated import begins_at, invocation_of, mark, prefix_length
from kasauti.model.adapters import LoraSettings, attach, load_adapter
from kasauti.model.labels import build_trie
from kasauti.model.posterior import label_log_probabilities
from kasauti.train.attention import Tree
from kasauti.train.constant import Constant, constant_of
from kasauti.train.prefix import PackingCollator
from kasauti.train.recipe import Recipe, recipe_for
from kasauti.train.sharing import constant_keys, packed_rows_in, summed_loss
from kasauti.train.trainer import run_training

PREFIX = 16
RUN = "train: {epochs: 3, batch: 16, r: 4, learning_rate: 0.01, constant_prefix: true}"


def adapted(architecture: str) -> tuple[Any, Any]:
    """A network, and the same with an adapter that does something."""
    network = fresh_network(architecture)
    model = attach(network, LoraSettings(r=4, dropout=0.0), seed=0)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return network, model


@contextlib.contextmanager
def masked(model: Any, off: int) -> Iterator[None]:
    """Within it the adapter adds nothing at the first `off` positions of a plain row."""

    def hide(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        kept_t = (torch.arange(output.shape[-2]) >= off).to(output.dtype)
        return output * kept_t[:, None]

    layers = [part["default"] for name, part in model.named_modules() if name.endswith("lora_B")]
    hooks = [layer.register_forward_hook(hide) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tree", [False, True])
def test_the_gradient_is_that_of_an_adapter_masked_off_on_the_prefix(architecture, tree):
    network, model = adapted(architecture)
    rows = drawn(7, PREFIX + 3, seed=5, tree=tree)
    with masked(model, PREFIX):
        wanted_loss = plain_loss(model, rows, 0.1)
        wanted = gradient(model, wanted_loss)
    mark(model, rows[0]["input_ids"][PREFIX : PREFIX + 3])
    before = constant_keys(model, rows[0]["input_ids"][:PREFIX])
    with packed_rows_in(network):
        loss = summed_loss(model, PackingCollator([END], PREFIX)(rows), 0.1, before)
        found = gradient(model, loss)
    assert loss.item() == pytest.approx(wanted_loss.item(), rel=1e-5)
    assert float((found - wanted).norm() / wanted.norm()) <= 1e-5


def test_it_is_another_gradient_than_that_of_an_adapter_that_is_on():
    _, model = adapted("llama")
    rows = drawn(7, PREFIX, seed=5)
    on = gradient(model, plain_loss(model, rows))
    with masked(model, PREFIX):
        off = gradient(model, plain_loss(model, rows))
    assert float((on - off).norm() / on.norm()) > 0.01


@pytest.mark.parametrize("window", [None, 9, SLIDING])
def test_both_masks_show_the_prefix_and_a_row_s_own_path(window):
    """The boolean one, the reference, from the definition; FlexAttention's, token by token."""
    rows = drawn(5, PREFIX, seed=2, tree=True)
    tensors = PackingCollator([END], PREFIX)(rows)
    keys = torch.zeros(1, 2, PREFIX, 8)
    tree = Tree(tensors["nodes"], tensors["position_ids"][0], tensors["places"], [(keys, keys)])
    mask = tree.mask(window)
    size = len(tree.positions)
    assert mask.shape == (size, PREFIX + size)
    block = tree.block_mask(window)
    for q in range(size):
        row = [bool(block.mask_mod(0, 0, torch.tensor(q), torch.tensor(k))) for k in range(PREFIX + size)]
        assert row == mask[q].tolist()
    seen = mask.sum(dim=1)
    assert torch.equal(seen, tree.positions + 1 if window is None else (tree.positions + 1).clamp(max=window))


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma"])
def test_answers_are_the_same_in_training_from_disk_and_by_peft_itself(architecture, tmp_path):
    _, model = adapted(architecture)
    rows = drawn(6, PREFIX + 3, seed=3)
    prompts = [row["input_ids"][: row["labels"].count(-100)] for row in rows]
    invocation = prompts[0][PREFIX : PREFIX + 3]
    trie = build_trie({"a": [7, 8, END], "b": [7, END], "c": [9, END]})
    mark(model, invocation)
    training = label_log_probabilities(model, prompts, trie)
    model.peft_config["default"].alora_invocation_tokens = invocation
    model.save_pretrained(tmp_path)
    loaded = load_adapter(fresh_network(architecture), str(tmp_path))
    assert invocation_of(loaded) == tuple(invocation)
    stored = label_log_probabilities(loaded, prompts, trie)
    assert abs(training - stored).max() < 1e-4
    for prompt, logs in zip(prompts, label_log_probabilities(loaded, prompts, trie, normalise=False), strict=True):
        for label, log in zip(([7, 8, END], [7, END], [9, END]), logs, strict=True):
            with torch.no_grad():
                plain_tv = loaded(input_ids=torch.tensor([[*prompt, *label]])).logits[0].log_softmax(dim=-1)
            wanted = sum(plain_tv[len(prompt) - 1 + at, token] for at, token in enumerate(label))
            assert log == pytest.approx(float(wanted), abs=1e-4)
    with pytest.raises(NotImplementedError, match="aLoRA"):
        loaded.merge_and_unload()


def test_a_prompt_that_does_not_begin_as_the_others_is_refused():
    _, model = adapted("llama")
    mark(model, [5, 6])
    assert prefix_length(model, [[1, 2, 5, 6, 9], [1, 2, 5, 6, 7, 8]]) == 2
    for other in ([1, 3, 5, 6, 9], [1, 2, 9, 9], [1, 2, 5, 6, 9, 5, 6]):
        with pytest.raises(ModelError, match="prompt 2"):
            prefix_length(model, [[1, 2, 5, 6, 9], other])


def test_the_invocation_is_where_it_stands_last():
    assert begins_at([1, 5, 6, 2, 5, 6, 3], [5, 6]) == 4
    assert begins_at([1, 2], [5]) == -1


def supervised(prompt: list[int]) -> Supervised:
    return Supervised(ids=(*prompt, 9, END), labels=(*[-100] * len(prompt), 9, END), prefix_length=len(prompt))


def test_the_prefix_ends_before_the_last_special_token_that_a_row_holds_once():
    fixed = [1, 10, 11, 12, 13, 14, 2, 15]  # 1 and 2 are special; 15 begins the user's turn
    rows = [supervised([*fixed, 20 + n, 3, 16]) for n in range(3)]
    assert constant_of(fixed, rows, [1, 2, 3]) == Constant(tuple(fixed[:6]), (2, 15))


@pytest.mark.parametrize(
    ("fixed", "prompt", "what"),
    [
        ([1, 10, 11, 12, 13, 14], [1, 10, 11, 12, 13, 14, 20], "no turn that begins"),
        ([], [20], "no turn that begins"),
        ([1, 10, 11, 12, 2, 15], [1, 10, 11, 12, 2, 15, 20, 2, 15, 21], "row 1 .* earlier turns"),
        ([1, 10, 11, 12, 2, 15], [1, 10, 11, 19, 2, 15, 20], "row 1 does not begin"),
    ],
)
def test_rows_for_which_it_cannot_be_exact_are_refused_in_one_line(fixed, prompt, what):
    with pytest.raises(TaskError, match=what) as caught:
        constant_of(fixed, [supervised(prompt)], [1, 2, 3])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "other", [{"method": "full"}, {"dora": True}, {"prefix_sharing": "never"}, {"embeddings": 2.0}]
)
def test_settings_that_it_cannot_go_with_are_refused(other):
    with pytest.raises(TaskError, match=f"constant_prefix cannot go with {next(iter(other))}"):
        recipe_for({"constant_prefix": True, **other}, 1000, 1)


def test_a_network_that_cannot_be_packed_and_a_window_shorter_than_the_prefix_are_refused(tmp_path):
    rows: list[Row] = drawn(6, SLIDING + 6, seed=3)
    given = [Supervised(ids=tuple(r["input_ids"]), labels=tuple(r["labels"]), prefix_length=9) for r in rows]
    constant = Constant(tuple(rows[0]["input_ids"][: SLIDING + 3]), tuple(rows[0]["input_ids"][SLIDING + 3 :][:3]))
    recipe = Recipe(epochs=1, batch=2, micro_batch=2, gradient_checkpointing=False, trackers=("none",))
    for network, what in ((unpackable("hybrid"), "cannot be packed"), (fresh_network("mistral_sliding"), "window")):
        model = attach(network, LoraSettings(r=2), seed=0)
        with pytest.raises(ModelError, match=what):
            run_training(model, given, given, recipe, tmp_path, tokenizer=None, end_ids=[END], constant=constant)


@pytest.fixture(scope="module")
def task(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    def make() -> Path:
        folder = tmp_path_factory.mktemp("task")
        write_rows(folder / "train.csv", complaints(60, 1))
        write_rows(folder / "test.csv", complaints(12, 2))
        lines = [line for line in task_text(tiny_model).splitlines() if not line.startswith("train:")]
        (folder / "task.yaml").write_text("\n".join([*lines, RUN, ""]), encoding="utf-8")
        return folder

    return make


def test_a_run_with_it_survives_a_kill_and_is_answered_from_as_it_was_trained(task):
    wanted, folder = task(), task()
    run = killing.train(str(wanted))
    summary = json.loads((run.folder / "run.json").read_text("utf-8"))
    told = summary["constant_prefix"]
    assert f"off on the {len(told['ids'])} tokens" in summary["prefix_sharing"]
    config = json.loads((run.adapter / "adapter_config.json").read_text("utf-8"))
    assert config["alora_invocation_tokens"] == told["invocation"]
    state = ".kasauti/runs/*/checkpoints/checkpoint-*/trainer_state.json"
    assert killing.run(killing.train, folder, at=state, nth=2)[0] == -9
    again = killing.train(str(folder))
    weights = "adapter_model.safetensors"
    assert (again.adapter / weights).read_bytes() == (run.adapter / weights).read_bytes()


def test_the_figures_of_training_are_those_of_what_lies_on_disk(task):
    opened = load_task(task())
    split, _ = load_split(opened)
    bench = Workbench(opened)
    run = Tuned(bench).trained(split.train, split.validation_choose)
    loaded = bench.loaded(str(run.adapter))
    stored = Tuned(bench).evaluation(loaded, split.validation_choose)(loaded.model)
    told = run.summary["best"]
    for name in ("validation_log_loss", "validation_accuracy", "validation_macro_f1"):
        assert stored[name] == pytest.approx(told[name], abs=1e-4)
