"""Gradients on packed rows are the plain batch's, for every architecture that the library trains."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from tests.tiny import ARCHITECTURES, END, SLIDING, VOCABULARY, fresh_network
from torch.nn.functional import scaled_dot_product_attention

from kasauti.model.adapters import LoraSettings, attach
from kasauti.train.attention import NAME, Tree, _ByNode, tree_attention_in
from kasauti.train.prefix import pack
from kasauti.train.rows import IGNORED
from kasauti.train.sharing import packed_rows_in, summed_loss

Row = dict[str, list[int]]


def drawn(count: int, prefix: int, seed: int, *, tree: bool = False) -> list[Row]:
    """Rows of unequal length, some with an answer of one token, which share a prefix, and a part of it with others."""
    draw = random.Random(seed)
    ids = lambda n: [draw.randrange(3, VOCABULARY) for _ in range(n)]  # noqa: E731
    start, parts = ids(prefix), [ids(9) for _ in range(3)]
    rows = []
    for at in range(count):
        prompt = start + (parts[at % 3] if tree else []) + ids(draw.randrange(0 if prefix else 1, 9))
        answer = [*ids(draw.randrange(0, 4)), END]
        rows.append({"input_ids": prompt + answer, "labels": [IGNORED] * len(prompt) + answer})
    return rows


def plain_loss(model: Any, rows: list[Row], smoothing: float = 0.0) -> torch.Tensor:
    """The padded batch's, as a plain trainer computes it, summed."""
    longest = max(len(row["input_ids"]) for row in rows)
    padded = [(row["input_ids"] + [0] * (longest - len(row["input_ids"]))) for row in rows]
    seen = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
    logits_btv = model(input_ids=torch.tensor(padded), attention_mask=torch.tensor(seen)).logits
    total = torch.zeros(())
    for logits_tv, row in zip(logits_btv, rows, strict=True):
        for at, label in enumerate(row["labels"]):
            if label != IGNORED:
                logs_v = logits_tv[at - 1].log_softmax(dim=-1)
                total = total - (1 - smoothing) * logs_v[label] - smoothing * logs_v.mean()
    return total


def gradient(model: Any, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])


def assert_equal(model: Any, network: Any, rows: list[Row], smoothing: float = 0.0) -> None:
    wanted_loss = plain_loss(model, rows, smoothing)
    wanted = gradient(model, wanted_loss)
    with packed_rows_in(network):
        loss = summed_loss(model, pack(rows).tensors(), smoothing)
        found = gradient(model, loss)
    assert loss.item() == pytest.approx(wanted_loss.item(), rel=1e-5)
    assert float((found - wanted).norm() / wanted.norm()) <= 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("prefix", "tree"), [(0, False), (1, False), (20, False), (30, True)])
def test_the_gradient_of_every_weight_is_the_plain_batch_s(architecture, prefix, tree):
    model = fresh_network(architecture)
    assert_equal(model, model, drawn(7, prefix, seed=prefix, tree=tree))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_gradient_of_an_adapter_is_the_plain_batch_s_with_label_smoothing_too(architecture):
    network = fresh_network(architecture)
    model = attach(network, LoraSettings(r=4, dropout=0.0), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    assert_equal(model, network, drawn(6, 25, seed=3, tree=True), smoothing=0.1)


def test_a_window_that_ends_within_the_prefix_hides_what_is_before_it():
    rows = drawn(5, SLIDING + 10, seed=1)
    model = fresh_network("mistral_sliding")
    assert_equal(model, model, rows)
    made = pack(rows)
    tensors = made.tensors()
    positions = tensors["position_ids"][0]
    mask = Tree(tensors["nodes"], positions, tensors["places"]).mask(SLIDING)
    assert int(mask.sum(dim=1).max()) == SLIDING
    assert not bool(mask[positions[:, None] - positions[None] >= SLIDING].any())


def test_gradient_checkpointing_does_not_change_the_gradient():
    rows = drawn(6, 20, seed=2, tree=True)
    found = []
    for checkpointing in (False, True):
        model = fresh_network("llama").train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        with packed_rows_in(model):
            found.append(gradient(model, summed_loss(model, pack(rows).tensors())))
    assert torch.equal(*found)


@pytest.mark.parametrize("window", [None, 12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_node_by_node_is_the_same_as_under_one_mask(window, dtype):
    made = pack(drawn(6, 14, seed=5, tree=True))
    tensors = made.tensors()
    tree = Tree(tensors["nodes"], tensors["position_ids"][0], tensors["places"])
    torch.manual_seed(0)
    given = [torch.randn(1, len(made.ids), 2, 16).transpose(1, 2).to(dtype).requires_grad_() for _ in range(3)]
    outs, grads = [], []
    for out in (
        _ByNode.apply(*given, tree, 0.25, window),
        scaled_dot_product_attention(*(x.double() for x in given), attn_mask=tree.mask(window), scale=0.25),
    ):
        outs.append(out.double())
        grads.append(torch.cat([g.flatten().double() for g in torch.autograd.grad(out.sin().sum(), given)]))
    tolerance = 1e-5 if dtype is torch.float32 else 2e-2
    assert float((outs[0] - outs[1]).detach().norm() / outs[1].detach().norm()) <= tolerance
    assert float((grads[0] - grads[1]).norm() / grads[1].norm()) <= tolerance


@pytest.mark.parametrize("window", [None, 12])
def test_the_block_mask_for_cuda_says_the_same_as_the_boolean_one(window):
    from torch.nn.attention.flex_attention import create_mask

    made = pack(drawn(6, 14, seed=6, tree=True))
    tensors = made.tensors()
    tree = Tree(tensors["nodes"], tensors["position_ids"][0], tensors["places"])
    block, size = tree.block_mask(window), len(made.ids)
    whole = create_mask(block.mask_mod, None, None, tree.filled, tree.filled, device="cpu")[0, 0]
    assert torch.equal(whole[:size, :size], tree.mask(window))
    assert not whole[:size, size:].any()
    assert torch.equal(whole[size:, size:], torch.eye(tree.filled - size, dtype=torch.bool))


def test_flex_attention_with_that_mask_gives_the_same_output():
    from torch.nn.attention.flex_attention import flex_attention

    made = pack(drawn(6, 14, seed=6, tree=True))
    tensors = made.tensors()
    tree = Tree(tensors["nodes"], tensors["position_ids"][0], tensors["places"])
    torch.manual_seed(0)
    given = [torch.randn(1, 2, len(made.ids), 16) for _ in range(3)]
    filled = [torch.nn.functional.pad(x, (0, 0, 0, tree.filled - len(made.ids))) for x in given]
    out = flex_attention(*filled, block_mask=tree.block_mask(12), scale=0.25)[:, :, : len(made.ids)]
    assert torch.allclose(out, _ByNode.apply(*given, tree, 0.25, 12), atol=1e-5)


def test_the_network_is_left_as_it_was_and_calls_without_a_tree_are_the_library_s():
    model, ids = fresh_network("llama"), torch.tensor([[5, 6, 7, 8]])
    before = model(input_ids=ids).logits
    with tree_attention_in(model):
        assert model.config._attn_implementation == NAME
        assert torch.equal(model(input_ids=ids).logits, before)
        padded = torch.tensor([[5, 6, 7, 8], [5, 6, 0, 0]])
        seen = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
        within = model(input_ids=padded, attention_mask=seen).logits
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(model(input_ids=padded, attention_mask=seen).logits, within)
