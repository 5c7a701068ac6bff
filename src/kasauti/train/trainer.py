"""The only file that knows TRL: our rows, our collator, its loop, loss and checkpoints.

Walks in: a network, proved rows, a recipe, a folder. Walks out: the folder with checkpoints and the log of the run.
It knows no text.

TRL's own dataset preparation is skipped, so that nothing tokenises, truncates or masks after the proof. Its loss
computes logits at the supervised positions only.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasauti.core.errors import TrainingError
from kasauti.core.files import read_json, write_json
from kasauti.core.progress import Progress, silent
from kasauti.core.types import Supervised
from kasauti.train.recipe import Recipe
from kasauti.train.rows import Collator, dataset

Evaluate = Callable[[Any], dict[str, float]]
"""Figures on the validation rows, from the network in eval mode."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a finished run knows of itself."""

    curve: list[dict[str, float]]
    """One entry an epoch: epoch, step, train_loss, validation_loss, and what `evaluate` gave."""
    best_checkpoint: str
    best_validation_loss: float
    steps: int
    trainable: int


def run_training(
    model: Any,
    train: Sequence[Supervised],
    validation: Sequence[Supervised],
    recipe: Recipe,
    folder: Path,
    *,
    tokenizer: Any,
    end_ids: Sequence[int],
    evaluate: Evaluate | None = None,
    progress: Progress = silent,
) -> Trained:
    """Trains until the recipe ends, going on from the newest whole checkpoint in `folder`; the best weights are left
    in `model`.

    Raises:
        TrainingError: the loss is not a number, or nothing was learned from.
    """
    from trl.trainer.sft_trainer import SFTTrainer

    collator = Collator(
        tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id, end_ids
    )
    trainer = SFTTrainer(
        model=model,
        args=_arguments(recipe, folder, model),
        data_collator=collator,
        train_dataset=dataset(train),
        eval_dataset=dataset(validation),
        processing_class=tokenizer,
        callbacks=[_Watcher.make(evaluate, progress, recipe, folder)],
    )
    with contextlib.suppress(ImportError):
        from transformers.trainer_callback import PrinterCallback, ProgressCallback

        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
    checkpoint = _newest_whole(folder)
    if checkpoint is not None:
        kept = read_json(Path(checkpoint) / "trainer_state.json")
        if _impatient(kept["log_history"], recipe.patience):  # it had stopped; nothing is left but to take the best
            trainer.args.num_train_epochs = round(kept["epoch"])
    trainer.train(resume_from_checkpoint=checkpoint)
    state = trainer.state
    if state.best_model_checkpoint is None or state.best_metric is None:
        raise TrainingError(
            "no checkpoint has a validation loss", where=str(folder), mend="lower train.learning_rate and run again"
        )
    return Trained(
        curve=_curve(state.log_history),
        best_checkpoint=Path(state.best_model_checkpoint).name,
        best_validation_loss=float(state.best_metric),
        steps=state.global_step,
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )


def _arguments(recipe: Recipe, folder: Path, model: Any) -> Any:
    import torch
    from trl.trainer.sft_config import SFTConfig

    cuda = model.device.type == "cuda"
    return SFTConfig(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=recipe.batch // recipe.micro_batch,
        per_device_eval_batch_size=max(recipe.micro_batch, 16),
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        label_smoothing_factor=recipe.label_smoothing,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        gradient_checkpointing=recipe.gradient_checkpointing,
        seed=recipe.seed,
        data_seed=recipe.seed,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=recipe.keep,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_strategy="steps",
        logging_steps=10,
        logging_nan_inf_filter=False,
        report_to=list(recipe.trackers) or "none",
        disable_tqdm=True,
        use_cpu=not cuda,
        optim=_optimizer(cuda),
        bf16=cuda and torch.cuda.is_bf16_supported(),
        fp16=cuda and not torch.cuda.is_bf16_supported(),
        dataloader_pin_memory=cuda,
        train_sampling_strategy="group_by_length",
    )


def add_seconds(folder: Path, seconds: float) -> float:
    """Add to the seconds that a run has taken over all the processes that worked on it; the sum so far."""
    path = folder / "seconds.json"
    spent = float(read_json(path)["seconds"]) if path.exists() else 0.0
    write_json(path, {"seconds": spent + seconds})
    return spent + seconds


def _optimizer(cuda: bool) -> str:
    """Paged AdamW spills its state to main memory where the GPU is full; it needs CUDA and bitsandbytes."""
    import importlib.util

    return "paged_adamw_32bit" if cuda and importlib.util.find_spec("bitsandbytes") else "adamw_torch"


def _newest_whole(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; one that a kill cut short is removed.

    The state file is what the trainer writes last into a checkpoint, so a checkpoint with a readable state is whole.
    """
    found = sorted(
        (folder / "checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]), reverse=True
    )
    for checkpoint in found:
        try:
            state = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
            if state["global_step"] == int(checkpoint.name.rpartition("-")[2]):
                return str(checkpoint)
        except (OSError, ValueError, KeyError):
            shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def _curve(history: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """The trainer's log as one entry an epoch: mean training loss of its steps, validation loss, other figures."""
    curve: list[dict[str, float]] = []
    total, steps, before = 0.0, 0, 0
    for entry in history:
        if "loss" in entry:  # the mean of the steps since the last such line
            total += float(entry["loss"]) * (int(entry["step"]) - before)
            steps, before = steps + int(entry["step"]) - before, int(entry["step"])
        if "eval_loss" in entry:
            row = {
                "epoch": float(entry["epoch"]),
                "step": float(entry["step"]),
                "validation_loss": float(entry["eval_loss"]),
            }
            if steps:
                row["train_loss"] = total / steps
            total, steps = 0.0, 0
            curve.append(row)
        elif curve and "validation_accuracy" in entry:
            curve[-1] |= {k: float(v) for k, v in entry.items() if k.startswith("validation_")}
    return curve


class _Watcher:
    """Builds the callback; the base class is heavy to import."""

    @staticmethod
    def make(evaluate: Evaluate | None, progress: Progress, recipe: Recipe, folder: Path) -> Any:
        from transformers import TrainerCallback

        class Watcher(TrainerCallback):  # type: ignore[misc]
            """Tells the progress, adds task metrics to the log, and stops a run whose loss is not a number."""

            began = time.monotonic()

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                progress("train", state.global_step, state.max_steps, _remark(state.log_history))

            def on_log(
                self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
            ) -> None:
                # the validation loss too: a short run ends before its first line of training loss
                for name, told in (("loss", "training"), ("eval_loss", "validation")):
                    value = (logs or {}).get(name)
                    if value is not None and not math.isfinite(value):
                        raise TrainingError(
                            f"the {told} loss is {value} at step {state.global_step}",
                            where="train",
                            mend=f"lower train.learning_rate (it is {recipe.learning_rate:g}) and run again",
                        )

            def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                # The running sum of the loss goes into the log before the checkpoint, which would not keep it.
                control.should_log = True

            def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                add_seconds(folder, time.monotonic() - self.began)
                self.began = time.monotonic()

            def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
                if evaluate is not None:
                    was_training = model.training
                    model.eval()
                    state.log_history.append({**evaluate(model), "epoch": state.epoch, "step": state.global_step})
                    model.train(was_training)
                if _impatient(state.log_history, recipe.patience):
                    control.should_training_stop = True

        return Watcher()


def _impatient(history: Sequence[dict[str, Any]], patience: int) -> bool:
    """Whether validation loss has not become better for `patience` epochs; 0 is never impatient."""
    losses = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    return bool(patience and losses) and len(losses) - 1 - losses.index(min(losses)) >= patience


def _remark(history: Sequence[dict[str, Any]]) -> str:
    loss = next((e["loss"] for e in reversed(history) if "loss" in e), None)
    held = next((e["eval_loss"] for e in reversed(history) if "eval_loss" in e), None)
    parts = [f"loss {loss:.3f}"] if loss is not None else []
    return " ".join([*parts, f"validation {held:.3f}"] if held is not None else parts)
