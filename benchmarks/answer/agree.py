"""Does the search always name the full posterior's answer? Ten thousand texts, random tries, several networks.

Walks in: how many texts. Walks out: one JSON line: texts, those with another answer, those whose probability lies
outside the bounds, and the share of the trie that was opened.

The networks are tiny and random, their tries random with common beginnings and labels that begin others; a third is
unsure of everything, a third sure, a third in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.models.llama.configuration_llama import LlamaConfig

from kasauti.model.engine import Engine
from kasauti.model.labels import build_trie

WORDS, END = 97, 2
TASKS = 30


def _network(seed: int) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=(0.05, 0.3, 0.3)[seed % 3],
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    return model.to(torch.bfloat16) if seed % 3 == 2 else model


def _labels(count: int, draw: random.Random) -> dict[str, list[int]]:
    made: dict[tuple[int, ...], None] = {}
    while len(made) < count:
        stem = draw.choice(list(made))[:-1][:3] if made and draw.random() < 0.5 else ()
        made[(*stem, *(draw.randrange(3, WORDS) for _ in range(draw.choice([1, 1, 2, 3]))), END)] = None
    return {str(at): list(ids) for at, ids in enumerate(made)}


def run(texts: int) -> dict[str, Any]:
    """The figures."""
    other = outside = opened = 0.0
    asked = 0
    for task in range(TASKS):
        draw = random.Random(task)
        engine, trie = Engine(_network(task)), build_trie(_labels(draw.choice([2, 12, 77, 150]), draw))
        beginning = [draw.randrange(3, WORDS) for _ in range(8)]
        count = texts * (task + 1) // TASKS - texts * task // TASKS
        if not count:
            continue
        prompts = [beginning + [draw.randrange(3, WORDS) for _ in range(draw.randint(1, 20))] for _ in range(count)]
        full = engine.log_probabilities(prompts, trie, beginning=beginning)
        found = engine.best(prompts, trie, beginning=beginning)
        slack = 0.05 if engine.model.dtype == torch.bfloat16 else 1e-4
        for one, line in zip(found, full, strict=True):
            p = float(np.exp(line[one.label]))
            other += one.label != int(line.argmax())
            outside += not one.low - slack <= p <= one.high + slack
            opened += one.opened / max(1, trie.size)
        asked += count
    return {"texts": asked, "other_answer": int(other), "outside_bounds": int(outside), "opened": opened / asked}


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, print; 1 where an answer differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=int, default=10_000)
    found = run(parser.parse_args(arguments).texts)
    print(json.dumps(found))
    return int(bool(found["other_answer"] or found["outside_bounds"]))


if __name__ == "__main__":
    sys.exit(main())
