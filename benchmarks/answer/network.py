"""A Llama of about 100 million parameters that answers a labelling task, written by hand and not trained.

Walks in: a shape, a number of labels, a length of the common beginning. Walks out: prompts, labels and a network in
which whoever decodes, scores or searches must come to the same answers, so that engines can be compared at equal
answers. It does not know the engines.

Its matrices are random and small, but for a few: every text has one word that tells its class; the first layer's
attention looks at all positions alike and brings the class to the position it is at; the second layer's MLP has a
neuron for every step of every label, which fires where class and current token are those of the step, and writes the
direction of the label's next token. What a product of matrices costs does not depend on the numbers in it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.llama.configuration_llama import LlamaConfig

END, UNKNOWN, ASK = 2, 1, 3
"""End of the turn, the unknown word, and the last word of every prompt."""
FIRST = 4
"""The first id that words may have."""
SHAPE: dict[str, Any] = {
    "vocab_size": 16384,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
CERTAINTY = 13.0
"""Logit of a label's next token; the other 16,000 share a log-sum-exp of about 9.8, so a step has a probability of
about 0.95."""
OWN = (18, 34)
"""Words of a text."""


@dataclass(frozen=True, slots=True)
class Questions:
    """A task as token ids."""

    beginning: list[int]
    labels: dict[str, list[int]]
    """Label → ids that end with the end of the turn."""
    texts: list[list[int]]
    """What follows the beginning; ends with `ASK`."""
    truth: list[int]
    """Of every text, the index of its label."""

    def prompts(self, count: int) -> list[list[int]]:
        """The first so many, whole."""
        return [self.beginning + text for text in self.texts[:count]]


def questions(labels: int, prefix: int, texts: int, *, words: int = 16384, seed: int = 0) -> Questions:
    """So many labels of one to five tokens, more than half of which share their first with others; texts about them."""
    draw = random.Random(seed)
    free = iter(draw.sample(range(FIRST + 2 * labels, words), min(8 * labels, words // 2)))
    stems = [next(free) for _ in range(max(2, labels // 8))]
    made: list[list[int]] = []
    for at in range(labels):
        start = [draw.choice(stems)] if at % 5 < 3 else []
        more = draw.choice([1, 1, 2, 2, 3, 4]) if start else draw.choice([1, 1, 2, 3])
        made.append([*start, *(next(free) for _ in range(more)), END])
    common = range(FIRST + labels, words)  # the words before these tell classes
    beginning = [draw.choice(common) for _ in range(prefix)]
    truth = [draw.randrange(labels) for _ in range(texts)]
    asked = []
    for label in truth:
        text = [draw.choice(common) for _ in range(draw.randint(*OWN))]
        text[draw.randrange(len(text))] = FIRST + label
        asked.append([*text, ASK])
    return Questions(beginning, {f"label {at}": ids for at, ids in enumerate(made)}, asked, truth)


@torch.no_grad()  # type: ignore[untyped-decorator]
def network(asked: Questions, shape: dict[str, Any] = SHAPE, *, dtype: torch.dtype = torch.float32) -> Any:
    """The network that answers these questions."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **shape, initializer_range=0.002, eos_token_id=END, pad_token_id=END, bos_token_id=None,
        architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.float32).eval()
    words, hidden, classes = shape["vocab_size"], shape["hidden_size"], len(asked.labels)
    own = hidden - classes - 1  # dimensions of words, then one of each class, then one that is always on
    directions = torch.nn.functional.normalize(torch.randn(2, words, own), dim=-1)
    embedded = model.get_input_embeddings().weight
    embedded.zero_()
    embedded[:, :own] = directions[0]
    embedded[FIRST : FIRST + classes, own : own + classes] = torch.eye(classes)
    embedded[:, -1] = 1
    length = len(asked.beginning) + sum(OWN) / 2 + 1
    _bring_class(model.model.layers[0].self_attn, own, classes, length, hidden)
    _write_next(model.model.layers[1].mlp, asked, directions, own, hidden)
    model.lm_head.weight.zero_()
    model.lm_head.weight[:, :own] = directions[1] * CERTAINTY / hidden**0.5
    return model.to(dtype)


def _bring_class(attention: Any, own: int, classes: int, length: float, hidden: int) -> None:
    """Equal scores, so the mean over all positions; of its values only the class, as if there had been no others."""
    attention.q_proj.weight.zero_()
    size = attention.head_dim
    groups = attention.num_key_value_groups
    attention.v_proj.weight.zero_()
    attention.o_proj.weight.zero_()
    normed = (hidden / 3) ** 0.5  # what the norm makes of a one where word, class and the constant are each one
    for at in range(classes):
        attention.v_proj.weight[at, own + at] = 1
        head, place = divmod(at, size)
        attention.o_proj.weight[own + at, head * groups * size + place] = length / normed


def _write_next(mlp: Any, asked: Questions, directions: torch.Tensor, own: int, hidden: int) -> None:
    """One neuron a step: on where the position's word is the step's and its class the label's."""
    for matrix in (mlp.gate_proj, mlp.up_proj, mlp.down_proj):
        matrix.weight.zero_()
    neuron = 0
    normed = (hidden / 3) ** 0.5
    for at, ids in enumerate(asked.labels.values()):
        for word, following in zip([ASK, *ids[:-1]], ids, strict=True):
            mlp.gate_proj.weight[neuron, :own] = directions[0, word]
            mlp.gate_proj.weight[neuron, own + at] = 1
            mlp.gate_proj.weight[neuron, -1] = -1.5
            mlp.up_proj.weight[neuron, -1] = 1
            mlp.down_proj.weight[:own, neuron] = directions[1, following] * 40 / (0.5 * normed**2)
            neuron += 1


SPECIAL = ("<s>", "<unk>", "</s>")
"""Words of the first ids. No other word contains one: a tokenizer finds special words within others, too."""


def word(at: int) -> str:
    """The word of an id."""
    return SPECIAL[at] if at < len(SPECIAL) else f"w{at}"


def tokenizer(words: int) -> PreTrainedTokenizerFast:
    """The word `w7` is the id 7; words stand apart by spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    raw = Tokenizer(models.WordLevel({word(at): at for at in range(words)}, unk_token=word(UNKNOWN)))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token=word(END), unk_token=word(UNKNOWN), eos_token=word(END), bos_token=word(0)
    )


def spelled(ids: list[int]) -> str:
    """Ids as the text that they are tokens of."""
    return " ".join(map(word, ids))
