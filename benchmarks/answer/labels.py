"""Which label has a text? Every way of asking a causal language model, side by side: one network, the same prompts.

Walks in: nothing but the size of the run. Walks out: one JSON line, and `benchmarks/results/labels.json` with the
machine it was measured on.

The network (see `network.py`) answers right, so all engines must give the same answers; a case says whether they do.
`usual_loop` makes 20 new tokens for one text after the other; `usual_loop_stopping` is the same where the model ends
its turn after its label, as a tuned one does. `kasauti_posterior` gives the exact probability of every label,
`kasauti_best` the most probable label and bounds on its probability. Each engine is asked as many texts as fit its
share of the time, after a warm-up; what the others' libraries do not take is left out and said.

`share_of_limit` is the time in which a product of matrices on this machine would do 2·N operations for every token of
the text and of the label trie (the beginning being there already), over the time taken; N is what is multiplied for a
token, all weights but the embeddings. An engine that need not look at the whole trie can be above one.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from answer.engines import ENGINES, Ask
from answer.network import OWN, SHAPE, Questions, network, questions
from kasauti.core.files import write_json
from kasauti.model.labels import build_trie
from run import RESULTS, machine

CASES = [(labels, prefix) for labels in (12, 77, 150) for prefix in (150, 500)]
"""Labels, and tokens that all prompts begin with."""
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
TEXTS = 64
NEW = 20
LEAST = {"batched_generate": 8, "ctranslate2": 16, "kasauti_posterior": 16, "kasauti_best": 16}
"""Texts that an engine which batches is asked at least, whatever they take; others one."""
QUICK, FULL = 1.5, 60.0
"""Seconds of an engine's measurement, about."""
END_OF_QUICK = 240.0
"""Seconds after which a quick run begins no further measurement."""


def matrix_rate(dtype: torch.dtype, width: int) -> float:
    """Floating-point operations a second of a product of matrices of a layer's size."""
    a, b = torch.randn(1024, width, dtype=dtype), torch.randn(2048, width, dtype=dtype)
    taken = []
    for _ in range(11):
        began = time.perf_counter()
        a @ b.T
        taken.append(time.perf_counter() - began)
    return 2 * 1024 * width * 2048 / statistics.median(taken[2:])


def tokens_of(engine: str, asked: Questions) -> float:
    """About how many tokens an engine runs for a text; a decoded one counts as ten, since it reads all weights."""
    text, prefix, labels = sum(OWN) / 2 + 1, len(asked.beginning), len(asked.labels)
    if engine == "lm_eval":
        return labels * (prefix + text + 3)
    if engine == "cappr":
        return text + labels * 6
    if engine == "kasauti_posterior":
        return text + build_trie(asked.labels).size
    if engine in ("kasauti_best", "ctranslate2"):
        return text + 20
    return prefix + text + (10 if engine.startswith("usual") else 1) * NEW


def measure(name: str, model: Any, asked: Questions, seconds: float, rate: float) -> dict[str, Any] | None:
    """Texts a second of an engine and its answers; None for one that is not there or would take too long."""
    multiplied = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    expected = 2 * multiplied * tokens_of(name, asked) / rate
    if expected > 8 * seconds:
        print(f"{name}: left out, one text would take about {expected:.0f} s", file=sys.stderr)
        return None
    count = max(LEAST.get(name, 1), min(TEXTS, int(seconds / expected)))
    try:
        ask: Ask = ENGINES[name](model, asked)
        if expected < seconds:  # a warm-up
            ask(1)
        began = time.perf_counter()
        answers = ask(count)
        taken = time.perf_counter() - began
    except Exception as error:
        print(f"{name}: left out: {type(error).__name__}: {str(error).strip()[:200]}", file=sys.stderr)
        return None
    own = sum(len(text) for text in asked.texts[:count]) + count * build_trie(asked.labels).size
    return {
        "texts": count,
        "texts_per_second": round(count / taken, 3),
        "share_of_limit": round(2 * multiplied * own / rate / taken, 3),
        "right": sum(a == b for a, b in zip(answers, asked.truth[:count], strict=True)),
        "answers": answers,
    }


def compare(
    labels: int,
    prefix: int,
    names: Sequence[str],
    shape: dict[str, Any],
    dtype: str,
    seconds: float,
    until: float = float("inf"),
) -> list[dict[str, Any]]:
    """All engines on one case; none is begun after `until` on the clock of `time.monotonic`."""
    asked = questions(labels, prefix, TEXTS, words=shape["vocab_size"])
    model = network(asked, shape, dtype=DTYPES[dtype])
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        if time.monotonic() > until:
            print(f"{name}: left out, the time is over", file=sys.stderr)
            continue
        rate = matrix_rate(DTYPES[dtype], shape["hidden_size"])
        with torch.inference_mode():
            one = measure(name, model, asked, seconds, rate)
        gc.collect()
        if one is None:
            continue
        found[name] = {"labels": labels, "prefix": prefix, "dtype": dtype, "engine": name, **one}
        print(json.dumps({k: v for k, v in found[name].items() if k != "answers"}), file=sys.stderr, flush=True)
    usual = found.get("usual_loop", {}).get("texts_per_second")
    reference = found.get("kasauti_posterior", next(iter(found.values()), {})).get("answers", [])
    for one in found.values():
        answers = one.pop("answers")
        one["ratio_to_usual_loop"] = round(one["texts_per_second"] / usual, 2) if usual else None
        one["same_answers"] = all(a == b for a, b in zip(answers, reference, strict=False))
    return list(found.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, keep; 1 where engines disagree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer texts each, under five minutes on two cores")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; its own choice where 0")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    parser.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"])
    parser.add_argument("--cases", help="labels:prefix,… in place of all")
    parser.add_argument("--engines", help="names in place of all")
    parser.add_argument("--seconds", type=float, help="of an engine's measurement, about")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    if given.threads:
        torch.set_num_threads(given.threads)
    cases = [tuple(map(int, case.split(":"))) for case in given.cases.split(",")] if given.cases else CASES
    names = given.engines.split(",") if given.engines else list(ENGINES)
    seconds = given.seconds or (QUICK if given.quick else FULL)
    until = time.monotonic() + END_OF_QUICK if given.quick else float("inf")
    shape, found = SHAPE | {"num_hidden_layers": given.layers}, []
    for labels, prefix in cases:
        found += compare(labels, prefix, names, shape, given.dtype, seconds, until)
    kept = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "shape": shape, "cases": found}
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"labels{'_quick' if given.quick else ''}.json", kept)
    print(json.dumps({"cases": found}))
    return int(not all(one["same_answers"] for one in found))


if __name__ == "__main__":
    sys.exit(main())
