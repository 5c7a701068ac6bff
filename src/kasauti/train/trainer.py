"""The only file that knows TRL: our rows, our collator, its loop, loss and checkpoints.

Walks in: a network, proved rows, a recipe, a folder. Walks out: the folder with checkpoints and the log of the run.
It knows no text.

TRL's own dataset preparation is skipped, so that nothing tokenises, truncates or masks after the proof. Micro-batches
are packed rows (`prefix.py`) with a loss of our own; where the network cannot take those, padded ones with TRL's loss.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasauti.core import ranks
from kasauti.core.errors import ModelError, SupervisionError, TrainingError
from kasauti.core.files import read_json
from kasauti.core.progress import Progress, silent
from kasauti.core.types import Finding, Supervised
from kasauti.model import adapters
from kasauti.model.activated import mark
from kasauti.model.prefix import Prefix
from kasauti.train import memory, together, watch
from kasauti.train.constant import Constant
from kasauti.train.guard import Log, check_rows, impatient, nothing_good, review
from kasauti.train.noise import Epochs, TokenNoise
from kasauti.train.packed import PackedRows, PaddedRows
from kasauti.train.prefix import PackingCollator, rows_per_pass
from kasauti.train.rates import EmbeddingRate
from kasauti.train.recipe import AUTO, Recipe
from kasauti.train.rows import IGNORED, Collator, dataset
from kasauti.train.sharing import LOGIT_BYTES, constant_keys, packed_rows_in, reason_against, shared_by_all
from kasauti.train.trackers import trackers_of
from kasauti.train.watch import Evaluate


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a finished run knows of itself."""

    curve: list[dict[str, float]]
    """One entry an epoch: epoch, step, train_loss, validation_loss, and what `evaluate` gave."""
    best_checkpoint: str
    best: dict[str, float]
    """The entry of the curve whose weights are kept: the highest metric, the lowest loss among equals."""
    steps: int
    trainable: int
    findings: list[Finding]
    """What the guards have to say."""
    meter: watch.Meter
    """Tokens and seconds of the steps of this process."""
    trackers: dict[str, str]
    """Tracker → where its figures went, or why they did not."""
    sharing: str
    """What was computed once for many rows, or why nothing was; a sentence."""
    checkpointing: str
    """Whether activations were computed again in the backward pass, and why; a sentence."""

    @property
    def best_validation_loss(self) -> float:
        """Of the weights that are kept."""
        return self.best["validation_loss"]


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
    constant: Constant | None = None,
) -> Trained:
    """Trains until the recipe ends, going on from the newest whole checkpoint in `folder`; the best weights are left
    in `model`.

    Args:
        constant: where the adapter is off; None where it is on everywhere.

    Raises:
        SupervisionError: prompts are taught as well.
        ModelError: the adapter cannot be off on a prefix with this network.
        TrainingError: the loss is not a number or runs away before there is a checkpoint, or nothing would be learnt.
    """
    if (whole := check_rows(train)) is not None:
        raise SupervisionError(whole.what, where=whole.where, mend=whole.mend)
    begun = Log(
        recipe=recipe,
        parameters=adapters.count(model)[1],
        rows=len(train),
        answer_tokens=sum(len(r.labels) - r.labels.count(IGNORED) for r in train) / max(1, len(train)),
    )
    recipe, saving = _decided(model, train, recipe)
    trackers, tracking = trackers_of(recipe, folder)
    limit = None if progress is silent else watch.machine_limit(model, recipe)
    reason = _unshared(model, recipe)
    before = _before(model, constant, reason)
    sharing = _said(reason, train, before)
    progress("prefix", 2, 2, sharing)
    progress("checkpointing", 2, 2, saving)
    trainer, meter = _trainer(
        model, train, validation, recipe, folder, tokenizer, end_ids, tracking, packed=not reason, before=before
    )
    watcher = watch.Watcher(folder, meter, begun, evaluate, progress, limit)
    watcher.trainer = trainer
    trainer.add_callback(watcher)
    checkpoint = together.agree(_newest_whole(folder) if ranks.first() else None)
    if checkpoint is not None:
        kept = read_json(Path(checkpoint) / "trainer_state.json")
        if impatient(watch.curve_of(kept["log_history"]), recipe.patience):  # it had stopped: the best is left to take
            trainer.args.num_train_epochs = round(kept["epoch"])
    with contextlib.nullcontext() if reason else packed_rows_in(_network(model)):
        trainer.train(resume_from_checkpoint=checkpoint)
    state = trainer.state
    log = watch.log_of(state.log_history, begun, watcher.stopped)
    if (lost := nothing_good(log)) is not None or state.best_model_checkpoint is None:
        said = lost or watcher.stopped
        what = "no checkpoint has a validation loss" if said is None else said.what
        mend = f"lower train.learning_rate (it is {recipe.learning_rate:g}) and run again"
        raise TrainingError(what, where="train", mend=mend)
    name = Path(state.best_model_checkpoint).name
    return Trained(
        curve=list(map(dict, log.epochs)),
        best_checkpoint=name,
        best=next(dict(e) for e in log.epochs if e["step"] == int(name.rpartition("-")[2])),
        steps=state.global_step,
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        findings=review(log),
        meter=meter,
        trackers=trackers,
        sharing=sharing,
        checkpointing=saving,
    )


def _decided(model: Any, train: Sequence[Supervised], recipe: Recipe) -> tuple[Recipe, str]:
    """The recipe with gradient checkpointing decided by what fits here, and a sentence about it."""
    if recipe.gradient_checkpointing != AUTO:
        on = "on" if recipe.gradient_checkpointing else "off"
        return recipe, f"gradient checkpointing is {on}: the recipe says so"
    device = "gpu" if model.device.type == "cuda" else "cpu"
    longest, shape, room = max(len(row.ids) for row in train), memory.shape_of(model), memory.free(device)
    decided = together.agree(memory.checkpointing(shape, recipe, longest, device, room, loaded=True))
    whole = dataclasses.replace(recipe, gradient_checkpointing=False)
    kept = memory.memory_of(shape, whole, longest, device).activations / 1e6
    on, fit = ("on", "do not fit") if decided.gradient_checkpointing else ("off", "fit")
    return decided, f"gradient checkpointing is {on}: activations of about {kept:,.0f} MB {fit}"


def _network(model: Any) -> Any:
    """Without its adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _unshared(model: Any, recipe: Recipe) -> str:
    """Why rows are padded; empty where they are packed."""
    return reason_against(_network(model)) if recipe.prefix_sharing == "auto" else "the recipe says never"


def _before(model: Any, constant: Constant | None, reason: str) -> Prefix | None:
    """The constant prefix, computed by the base model alone; the network is told that its adapter is off there."""
    if constant is None:
        return None
    if reason:
        raise ModelError(
            f"the adapter cannot be off on a prefix: rows of this network cannot be packed, since {reason}",
            where="task.yaml: train.constant_prefix",
            mend="Leave constant_prefix out.",
        )
    mark(model, constant.invocation)
    return constant_keys(model, constant.ids)


def _said(reason: str, train: Sequence[Supervised], before: Prefix | None) -> str:
    if before is not None:
        return f"rows are packed; the adapter is off on the {len(before.ids)} tokens that all begin with, computed once"
    if reason:
        return f"rows are padded, and nothing is shared between them: {reason}"
    return f"rows are packed, and the {shared_by_all(train)} tokens that all begin with are computed once a pass"


@contextlib.contextmanager
def rehearsal(
    model: Any,
    train: Sequence[Supervised],
    validation: Sequence[Supervised],
    recipe: Recipe,
    folder: Path,
    *,
    tokenizer: Any,
    end_ids: Sequence[int],
    constant: Constant | None = None,
) -> Iterator[Any]:
    """The trainer of a run that is not run: its batches, its passes and its loss, for who wants to time them."""
    reason = _unshared(model, recipe)
    before, packed = _before(model, constant, reason), not reason
    trainer, _ = _trainer(
        model, train, validation, recipe, folder, tokenizer, end_ids, [], packed=packed, before=before
    )
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    trainer.model.train()
    with packed_rows_in(_network(model)) if packed else contextlib.nullcontext():
        yield trainer


def _trainer(
    model: Any,
    train: Sequence[Supervised],
    validation: Sequence[Supervised],
    recipe: Recipe,
    folder: Path,
    tokenizer: Any,
    end_ids: Sequence[int],
    tracking: list[Any],
    *,
    packed: bool,
    before: Prefix | None = None,
) -> tuple[Any, watch.Meter]:
    """TRL's trainer on our rows, and the meter on its collator."""
    import torch
    from transformers.trainer_callback import PrinterCallback, ProgressCallback
    from trl.trainer.sft_trainer import SFTTrainer

    class Whole(EmbeddingRate, SFTTrainer):  # type: ignore[misc]
        """TRL's loop, scheduler and checkpoints."""

        def _save_rng_state(self, output_dir: str) -> None:
            super()._save_rng_state(output_dir)
            together.wait()  # the first process writes the state, which comes last, once all the others have written

    class PackedTrainer(PackedRows, Whole):
        """On packed rows."""

    class PaddedTrainer(PaddedRows, Whole):
        """On padded ones, with TRL's loss."""

    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    skip = 0 if before is None else len(before.ids)
    collator = PackingCollator(end_ids, skip) if packed else Collator(pad, end_ids)
    noise = (
        TokenNoise(train, recipe.token_noise, recipe.seed, tokenizer.all_special_ids) if recipe.token_noise else None
    )
    collator.noise, meter = noise, watch.Meter(collator)
    vocabulary = model.config.get_text_config().vocab_size
    share = _share(recipe)
    rows = _rows_per_pass(train, recipe, share, vocabulary, skip) if packed else plain_rows(recipe.micro_batch, share)
    trainer = (PackedTrainer if packed else PaddedTrainer)(
        model=model,
        args=_arguments(recipe, folder, model, rows),
        data_collator=meter,
        train_dataset=dataset(train, noisy=noise is not None),
        eval_dataset=dataset(validation),
        processing_class=tokenizer,
        callbacks=[*tracking, *([] if noise is None else [Epochs(noise)])],
    )
    trainer.embedding_rate = recipe.embeddings
    if packed:
        trainer.before = before
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    if recipe.method == "qlora":  # TRL makes the adapter bfloat16, in which small updates are lost
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.float32)
    return trainer, meter


def _share(recipe: Recipe) -> int:
    """Rows of one optimizer step that are this process's."""
    if recipe.batch % ranks.count():
        raise TrainingError(
            f"a batch of {recipe.batch} rows cannot be divided among {ranks.count()} processes",
            where="task.yaml: train",
            mend="make train.batch a multiple of their number",
        )
    return recipe.batch // ranks.count()


def plain_rows(micro_batch: int, share: int) -> int:
    """Rows of one pass on padded rows: the most up to `micro_batch` that divide the share."""
    return next(n for n in range(min(micro_batch, share), 0, -1) if share % n == 0)


def _rows_per_pass(train: Sequence[Supervised], recipe: Recipe, share: int, vocabulary: int, skip: int = 0) -> int:
    """Rows of one pass on packed rows: no more tokens than so many plain rows have, and logits that fit. Tokens that
    are left out count as shared, which they are for memory: their keys and values are there once."""
    answer = max(sum(label != IGNORED for label in row.labels) for row in train)
    room = max(recipe.micro_batch, LOGIT_BYTES // (4 * vocabulary * answer))
    lengths = [len(row.ids) for row in train]
    return rows_per_pass(lengths, max(skip, shared_by_all(train)), share, min(recipe.micro_batch, share), most=room)


def _arguments(recipe: Recipe, folder: Path, model: Any, rows: int) -> Any:
    import torch
    from trl.trainer.sft_config import SFTConfig

    cuda = model.device.type == "cuda"
    return SFTConfig(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=recipe.batch // (rows * ranks.count()),
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
        gradient_checkpointing=bool(recipe.gradient_checkpointing),
        seed=recipe.seed,
        data_seed=recipe.seed,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=recipe.keep,
        load_best_model_at_end=True,
        metric_for_best_model=watch.CHOICE,
        greater_is_better=True,
        logging_strategy="steps",
        logging_steps=1,  # the guards look at every step
        logging_nan_inf_filter=False,
        report_to=[name for name in recipe.trackers if name in ("mlflow", "wandb")] or "none",
        disable_tqdm=True,
        use_cpu=not cuda,
        optim=_optimizer(cuda),
        bf16=cuda and torch.cuda.is_bf16_supported(),
        fp16=cuda and not torch.cuda.is_bf16_supported(),
        dataloader_pin_memory=cuda,
        ddp_find_unused_parameters=False,
    )


def _optimizer(cuda: bool) -> str:
    """Paged AdamW spills its state to main memory where the GPU is full; it needs CUDA and bitsandbytes."""
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
