"""Start, resume, finish: one training run in one folder.

Walks in: a task, examples, a loaded model, a frozen template, a recipe. Walks out: `.kasauti/runs/<id>/` with the
adapter, the template, the proof and `run.json`. It does not know the trial that may have asked for it, and it never
sees a test row.

The id is a hash of everything that the result depends on, so the same command finds its unfinished run and goes on
with it, and a finished one is not done twice.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasauti.chat.frozen import FrozenTemplate
from kasauti.chat.proof import Proof, prove
from kasauti.chat.supervise import supervise_rows
from kasauti.core import ranks
from kasauti.core.files import RunFolder, content_hash, write_json
from kasauti.core.progress import Progress, silent
from kasauti.core.ran import command, machine, versions
from kasauti.core.types import Example, Message, Supervised, Task
from kasauti.data.conversation import messages
from kasauti.model import adapters, quantise
from kasauti.model.load import Loaded
from kasauti.train import together
from kasauti.train.constant import constant_for
from kasauti.train.recipe import Recipe

FORMAT = 3
"""Part of every run's id; raised when the same inputs would give another adapter."""
ADAPTER = "adapter"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A finished run."""

    id: str
    folder: Path
    adapter: Path
    summary: dict[str, Any]
    """What `run.json` says: recipe, curve, proof, sizes."""


def run_id(
    task: Task, train: Sequence[Example], choose: Sequence[Example], model_sha256: str, template: str, recipe: Recipe
) -> str:
    """12 hexadecimal digits over everything that the adapter depends on."""
    return content_hash(
        {
            "format": FORMAT,
            "train": [e.id for e in train],
            "choose": [e.id for e in choose],
            "model": model_sha256,
            "instructions": task.instructions,
            "input": task.input,
            "labels": list(task.labels),
            "template": template,
            "recipe": dataclasses.asdict(recipe),
        }
    )[:12]


def proved_rows(
    task: Task, rows: Sequence[Example], frozen: FrozenTemplate, tokenizer: Any, recipe: Recipe
) -> tuple[list[Supervised], Proof]:
    """Every row as ids and labels, each of them proved.

    Raises:
        SupervisionError: the first row whose supervision would be wrong, by its number.
    """
    given = [(row.row, messages(task, row, with_answer=False), row.answer or "") for row in rows]
    reserve = longest_answer(task, frozen, tokenizer)
    made = list(supervise_rows(frozen, tokenizer, given, recipe.length, reserve=reserve))
    proof = prove(
        frozen, tokenizer, given, made, max_length=recipe.length, reserve=reserve, allow_unknown=bool(task.labels)
    )
    return list(made), proof


def longest_answer(task: Task, frozen: FrozenTemplate, tokenizer: Any) -> int:
    """Tokens of the longest label with all that follows it; kept free in every row, so that every prompt is shortened
    alike."""
    probe = [Message(role="user", content="a")]
    sizes = [
        len(r.ids) - r.prefix_length
        for r in supervise_rows(frozen, tokenizer, [(0, probe, label) for label in task.labels])
    ]
    return max(sizes, default=0)


def train_adapter(
    task: Task,
    train: Sequence[Example],
    choose: Sequence[Example],
    load: Callable[[], Loaded],
    frozen: FrozenTemplate,
    recipe: Recipe,
    *,
    model_sha256: str,
    evaluate: Callable[[Any], dict[str, float]] | None = None,
    progress: Progress = silent,
) -> Run:
    """The finished run for these inputs: found, resumed, or made.

    Args:
        load: gives a fresh copy of the base model; called only where there is something to train.
        evaluate: figures on validation rows after each epoch, from the network in eval mode.

    Raises:
        SupervisionError: a row would be taught wrongly; nothing is trained.
        TrainingError: the run diverged before there was a checkpoint, or would learn nothing.
    """
    id = run_id(task, train, choose, model_sha256, frozen.sha256, recipe)
    folder = RunFolder(task.folder, "runs", id, mark="run.json")
    if not together.agree(folder.finished):
        folder.make()
        _train(task, train, choose, load(), frozen, recipe, folder, evaluate, progress)
        together.wait()
    if ranks.first():  # here, since a kill may come between the mark and this
        shutil.rmtree(folder.path / "checkpoints", ignore_errors=True)
    return Run(id=id, folder=folder.path, adapter=folder.path / ADAPTER, summary=folder.result())


def _train(
    task: Task,
    train: Sequence[Example],
    choose: Sequence[Example],
    loaded: Loaded,
    frozen: FrozenTemplate,
    recipe: Recipe,
    folder: RunFolder,
    evaluate: Callable[[Any], dict[str, float]] | None,
    progress: Progress,
) -> None:
    from transformers import set_seed

    from kasauti.train.trainer import run_training
    from kasauti.train.watch import add_seconds

    progress("prove", 0, len(train) + len(choose), "supervision of every row")
    rows, proof = proved_rows(task, train, frozen, loaded.tokenizer, recipe)
    held_out, _ = proved_rows(task, choose, frozen, loaded.tokenizer, recipe)
    progress(
        "prove", len(train) + len(choose), len(train) + len(choose), f"{proof.supervised_tokens} tokens supervised"
    )
    if ranks.first():
        write_json(folder.path / "recipe.json", dataclasses.asdict(recipe))
    constant = constant_for(task, frozen, loaded.tokenizer, [*rows, *held_out]) if recipe.constant_prefix else None
    set_seed(recipe.seed)
    model = trainable(loaded.model, recipe)
    trained = run_training(
        model,
        rows,
        held_out,
        recipe,
        folder.path,
        tokenizer=loaded.tokenizer,
        end_ids=(frozen.frame.end_id,),
        evaluate=evaluate,
        progress=progress,
        constant=constant,
    )
    if not ranks.first():
        return
    tuned, total = adapters.count(model)
    if constant is not None:  # PEFT reads it, and has the adapter off where it was off in training
        model.peft_config["default"].alora_invocation_tokens = list(constant.invocation)
    _save(model, loaded.tokenizer, frozen, folder.path / ADAPTER)
    folder.finish(
        {
            "id": folder.id,
            "seconds": add_seconds(folder.path, 0.0),
            "task": task.name,
            "model": loaded.id,
            "model_sha256": loaded.sha256,
            "template_sha256": frozen.sha256,
            "rows": {"train": len(train), "validation": len(choose)},
            "rows_sha256": {
                "train": content_hash([e.id for e in train]),
                "validation": content_hash([e.id for e in choose]),
            },
            "recipe": dataclasses.asdict(recipe),
            "parameters": {"trainable": tuned, "all": total},
            "proof": _counts(proof),
            "curve": trained.curve,
            "best_checkpoint": trained.best_checkpoint,
            "best": trained.best,
            "best_validation_loss": trained.best_validation_loss,
            "steps": trained.steps,
            "findings": [{**dataclasses.asdict(one), "severity": one.severity.value} for one in trained.findings],
            "trackers": trained.trackers,
            "ran": {
                "command": command(),
                "machine": machine(),
                "versions": versions(),
                "device": str(model.device),
                "processes": ranks.count(),
            },
            "prefix_sharing": trained.sharing,
            "constant_prefix": None if constant is None else dataclasses.asdict(constant),
            "checkpointing": trained.checkpointing,
        }
    )


def trainable(model: Any, recipe: Recipe) -> Any:
    """The network with what the recipe trains in it, and nothing else, trainable."""
    if recipe.method == "full":
        return model.requires_grad_(True)
    named = recipe.targets[0] if recipe.targets in (("all-linear",), (adapters.QUERY_VALUE,)) else recipe.targets
    shape = adapters.LoraSettings(
        r=recipe.r,
        alpha=recipe.alpha,
        dropout=recipe.dropout,
        targets=named,
        rslora=recipe.rslora,
        dora=recipe.dora,
        embeddings=recipe.embeddings > 0,
    )
    return adapters.attach(quantise.prepare(model) if quantise.layers(model) else model, shape, recipe.seed)


_OF_SINGLE_ROWS = ("samples", "lengths", "cut")
"""Fields of a proof that are as long as the data."""


def _counts(proof: Proof) -> dict[str, Any]:
    return {f.name: getattr(proof, f.name) for f in dataclasses.fields(proof) if f.name not in _OF_SINGLE_ROWS}


def _save(model: Any, tokenizer: Any, frozen: FrozenTemplate, adapter: Path) -> None:
    """The adapter with its tokenizer and template, under its final name only once it is whole."""
    part = adapter.with_name(f"{adapter.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    frozen.save(part)
    shutil.rmtree(adapter, ignore_errors=True)
    part.rename(adapter)
