"""A training step on packed rows against TRL's, side by side: the same model, adapter, rows, batch and dtype.

Walks in: nothing but the size of the run. Walks out: one JSON line, and `benchmarks/results/shared_prefix.json` with
the machine it was measured on.

A case is a prefix of P tokens that B rows share, each with about 34 tokens of its own. What is timed is a whole step:
collate, forward, backward, optimizer. The two sides take turns, and a figure is the ratio of their medians.

The other side is TRL's SFTTrainer as a careful user sets it: supervised positions only, no gradient checkpointing (both
sides alike). On a CPU TRL scores *every* position of a batch; here it is told not to, which makes it faster. It is run
padded, and as `bfd` packs rows into packs of the longest row's length: one row a pass, no padding and no mask, which is
the faster of the two where the prefix is long. One case of the full run has the whole batch in one pack, too, which on
a CPU means a dense mask over all of it. The fastest of them is what is compared with.

The ceiling is the plain batch's tokens over the packed row's, B(P+s)/(P+Bs). `gradient_error` is the relative error of
the adapter's gradient against the plain batch's, in float32, on the first four rows.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.models.llama.configuration_llama import LlamaConfig

from kasauti.core.files import write_json
from kasauti.core.types import Supervised
from kasauti.model.adapters import LoraSettings, attach
from kasauti.train.packed import PackedRows
from kasauti.train.prefix import PackingCollator, pack
from kasauti.train.rows import IGNORED, Collator, dataset
from kasauti.train.sharing import packed_rows_in

sys.path.insert(0, str(Path(__file__).parents[1]))
from run import RESULTS, machine

END = 2
OWN = (26, 42)
"""Tokens of a row beside the prefix, answer included: 34 in the mean."""
ANSWER = 4
"""Supervised tokens of a row."""
SHAPE = {
    "vocab_size": 16384,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
"""A Llama of 88 million parameters."""
QUICK = SHAPE | {"num_hidden_layers": 6}
"""The same with half the layers, 50 million parameters: a layer's ratio does not depend on how many there are."""
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is compared."""

    prefix: int
    batch: int
    dtype: str
    pairs: int
    """Timed turns of each side, beside one to warm up."""
    whole: bool = False
    """Whether TRL's `bfd` packing of the whole batch into one pack is timed too."""


def rows_of(case: Case, vocabulary: int, seed: int = 0) -> list[Supervised]:
    """The rows of a case."""
    draw = random.Random(seed)
    prefix = [draw.randrange(3, vocabulary) for _ in range(case.prefix)]
    rows = []
    for _ in range(case.batch):
        text = [draw.randrange(3, vocabulary) for _ in range(draw.randint(*OWN) - ANSWER)]
        answer = [draw.randrange(3, vocabulary) for _ in range(ANSWER - 1)] + [END]
        ids = (*prefix, *text, *answer)
        labels = (*[IGNORED] * (len(ids) - ANSWER), *answer)
        rows.append(Supervised(ids=ids, labels=labels, prefix_length=len(ids) - ANSWER))
    return rows


def network(shape: dict[str, Any], dtype: torch.dtype, device: str) -> Any:
    """A network of this shape with an adapter whose two halves both move."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**shape), attn_implementation="sdpa", dtype=dtype)
    model = attach(model, LoraSettings(r=16, dropout=0.0), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


class Sides:
    """Both trainers around one model."""

    def __init__(self, model: Any, rows: Sequence[Supervised], folder: str, *, device: str) -> None:
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        class Packed(PackedRows, SFTTrainer):  # type: ignore[misc]
            """Ours."""

        import trl.trainer.utils

        trl.trainer.utils._use_triton = lambda device: True  # logits at supervised positions on a CPU, too
        self.model, self.rows = model, [{"input_ids": list(r.ids), "labels": list(r.labels)} for r in rows]
        self.count = torch.tensor(sum(label != IGNORED for row in rows for label in row.labels), device=device)
        arguments = SFTConfig(
            output_dir=folder, per_device_train_batch_size=len(rows), max_length=None, report_to="none", bf16=False,
            dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False, gradient_checkpointing=False,
            use_cpu=device == "cpu", disable_tqdm=True,
        )  # fmt: skip
        given = {"model": model, "train_dataset": dataset(rows), "eval_dataset": dataset(rows[:1])}
        given["processing_class"] = _tokenizer()
        self.plain = SFTTrainer(args=arguments, data_collator=Collator(0, (END,)), **given)
        self.ours = Packed(args=copy.copy(arguments), data_collator=PackingCollator((END,)), **given)
        self.optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)

    def packed(self) -> None:
        """A step of ours."""
        with packed_rows_in(self.model.get_base_model()):
            self._pass(self.ours, self.ours.data_collator(self.rows))
            self.update()

    def padded(self) -> None:
        """A step of TRL's on a padded batch."""
        self._pass(self.plain, self.plain.data_collator(self.rows))
        self.update()

    def bfd(self) -> None:
        """A step of TRL's on the rows laid end to end, as its padding-free packing does."""
        self._pass(self.plain, _flat(self.rows))
        self.update()

    def bfd_by_row(self) -> None:
        """The same, one packed row a pass, accumulated."""
        for row in self.rows:
            self._pass(self.plain, _flat([row]))
        self.update()

    def _pass(self, trainer: Any, batch: dict[str, torch.Tensor]) -> None:
        """Forward and backward."""
        trainer.training_step(self.model, batch, self.count)

    def update(self) -> None:
        """The optimizer's step."""
        self.optimizer.step()
        self.optimizer.zero_grad()


def _flat(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    ids = [token for row in rows for token in row["input_ids"]]
    labels = [label for row in rows for label in (IGNORED, *row["labels"][1:])]
    positions = [at for row in rows for at in range(len(row["input_ids"]))]
    return {
        "input_ids": torch.tensor([ids]),
        "labels": torch.tensor([labels]),
        "position_ids": torch.tensor([positions]),
    }


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "<end>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>", eos_token="<end>")


def gradient_error(rows: Sequence[Supervised], shape: dict[str, Any], device: str) -> float:
    """Relative error of the adapter's gradient on packed rows against the padded batch's, in float32."""
    model = network(shape, torch.float32, device)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(model, rows, folder, device=device)
        sides.update = lambda: None  # type: ignore[method-assign]
        for side in (sides.padded, sides.packed):
            side()
            found.append(torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None]))
            model.zero_grad()
    return float((found[0] - found[1]).norm() / found[0].norm())


def matrix_rate(dtype: torch.dtype, device: str, width: int) -> float:
    """Floating-point operations a second of a product of matrices of the sizes of a step."""
    a, b = torch.randn(1024, width, dtype=dtype, device=device), torch.randn(2048, width, dtype=dtype, device=device)
    return 2 * 1024 * width * 2048 / _seconds(lambda: a @ b.T, device, 9)


def _seconds(work: Callable[[], Any], device: str, turns: int = 1) -> float:
    taken = []
    for _ in range(turns):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def operations(model: Any, tokens: int, attended: int) -> float:
    """Floating-point operations of a step: forward, and the backward pass to the inputs (frozen weights get none)."""
    text = model.config.get_text_config()
    embedded = text.vocab_size * text.hidden_size
    linears = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    linear = sum(module.in_features * module.out_features for module in linears) - embedded  # the head sees few tokens
    width = text.num_attention_heads * (getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
    return float(2 * (2 * tokens * linear) + 3.5 * 4 * attended * width * text.num_hidden_layers)


def compare(model: Any, case: Case, rows: Sequence[Supervised], device: str) -> dict[str, Any]:
    """Both sides in turn on one model."""
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(model, rows, folder, device=device)
        names = ["padded", "bfd_by_row", *(["bfd"] if case.whole else [])]
        first = {name: _seconds(getattr(sides, name), device) for name in ("packed", *names)}  # a warm-up
        least = min(first[name] for name in names)
        # One that was far slower than another of TRL's cannot become what is compared with: it is not run again.
        taken: dict[str, list[float]] = {name: [] for name in first if name == "packed" or first[name] < 1.3 * least}
        for _ in range(case.pairs):
            for name, seconds in taken.items():
                seconds.append(_seconds(getattr(sides, name), device))
    median = first | {name: statistics.median(seconds) for name, seconds in taken.items()}
    other = min(names, key=lambda name: median[name])
    made = pack([{"input_ids": list(r.ids), "labels": list(r.labels)} for r in rows])
    ceiling = sum(len(row.ids) for row in rows) / len(made.ids)
    ratio = median[other] / median["packed"]
    rate = matrix_rate(DTYPES[case.dtype], device, model.config.get_text_config().hidden_size)
    seen = sum((stop - start) * (stop - start) // 2 + (end - stop) * (stop - start) for start, stop, end in made.nodes)
    return {
        "prefix": case.prefix,
        "batch": case.batch,
        "dtype": case.dtype,
        "ratio": round(ratio, 3),
        "ceiling": round(ceiling, 3),
        "share_of_ceiling": round(ratio / ceiling, 3),
        "seconds": {name: round(value, 4) for name, value in median.items()},
        "compared_with": other,
        "share_of_matrix_rate": round(operations(model, len(made.ids), seen) / median["packed"] / rate, 3),
        "matrix_gflops": round(rate / 1e9, 1),
    }


def measure(case: Case, shape: dict[str, Any], device: str) -> dict[str, Any]:
    """One case's figures."""
    rows = rows_of(case, shape["vocab_size"])
    error = gradient_error(rows[:4], shape, device)
    return {**compare(network(shape, DTYPES[case.dtype], device), case, rows, device), "gradient_error": error}


def cases(quick: bool) -> list[Case]:
    """What is measured."""
    if quick:
        return [
            Case(prefix=0, batch=16, dtype="bf16", pairs=7),
            Case(prefix=500, batch=16, dtype="bf16", pairs=3),
            Case(prefix=1000, batch=16, dtype="bf16", pairs=3),
        ]
    return [
        Case(prefix=prefix, batch=batch, dtype=dtype, pairs=3, whole=(prefix, batch) == (300, 8))
        for dtype in ("bf16", "fp32")
        for batch in (8, 16, 32)
        for prefix in (0, 100, 300, 500, 1000, 2000)
        if prefix * batch <= 32000
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three cases, under five minutes on two cores")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; its own choice where 0")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    if given.threads:
        torch.set_num_threads(given.threads)
    shape, found = QUICK if given.quick else SHAPE, []
    for case in cases(given.quick):
        with contextlib.redirect_stdout(sys.stderr):
            found.append(measure(case, shape, "cpu"))
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    kept = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "shape": shape, "cases": found}
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"shared_prefix{'_quick' if given.quick else ''}.json", kept)
    print(json.dumps({"cases": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
