"""What a trainer of Transformers needs to train on packed or padded rows: their order, loss, validation loss.

Walks in: a trainer's data sets and arguments. Walks out: losses that are means over tokens, whatever was packed with
what, by however many processes. It does not know TRL, checkpoints or metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

from kasauti.model.prefix import Prefix
from kasauti.train.rows import BLANK, FLAG, IGNORED
from kasauti.train.sharing import summed_loss


class EqualShares:
    """Mixed into a trainer of Transformers before its class: the rows of every step are those that one process would
    have, whatever number of them shares it, and the validation loss is the mean over all tokens."""

    args: Any
    accelerator: Any
    data_collator: Any
    train_dataset: Any
    eval_dataset: Any
    model_wrapped: Any
    compute_loss: Any
    _prepare_inputs: Any

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)  # the trainer's
        self.model_accepts_loss_kwargs = True  # the loss is over the tokens of the whole window
        rows = sorted(self.eval_dataset, key=lambda row: row["input_ids"])
        size = self.args.per_device_eval_batch_size
        self.held_out = [self.data_collator(rows[at : at + size]) for at in range(0, len(rows), size)]
        self.real_rows = len(self.train_dataset)
        missing = -self.real_rows % (self.args.per_device_train_batch_size * self.accelerator.num_processes)
        if self.accelerator.num_processes > 1 and missing:  # every process must have the same number of passes
            from datasets import concatenate_datasets

            columns = {name: [list(value)] * missing for name, value in BLANK.items()}
            flags = {FLAG: [False] * missing} if FLAG in self.train_dataset.column_names else {}
            blank = self.train_dataset.from_dict({**columns, **flags})
            self.train_dataset = concatenate_datasets([self.train_dataset, blank])

    @torch.no_grad()
    def evaluation_loop(
        self, dataloader: Any, description: str, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> Any:
        """The mean over all supervised tokens of the validation rows; processes share the work."""
        from transformers.trainer_utils import EvalLoopOutput

        model, first, step = self.model_wrapped, self.accelerator.process_index, self.accelerator.num_processes
        model.eval()
        total = torch.zeros(2, dtype=torch.float64)
        for at in range(first, len(self.held_out) + first, step):  # the same number of passes in every process
            batch = self.held_out[at] if at < len(self.held_out) else self.data_collator([BLANK])
            count = int((batch["labels"] != IGNORED).sum())
            mean = self.compute_loss(model, dict(self._prepare_inputs(batch)))
            total += torch.tensor([float(mean) * count, count], dtype=torch.float64)
        loss_sum, count = self.accelerator.reduce(total.to(self.args.device)).tolist()
        metrics = {f"{metric_key_prefix}_loss": loss_sum / count}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=len(self.eval_dataset))


class PaddedRows(EqualShares):
    """Padded rows and the trainer's own loss; rows of one length in one step."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        lengths = [len(ids) for ids in self.train_dataset["input_ids"][: self.real_rows]]
        share = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        rows = share * self.accelerator.num_processes
        return Alike(lengths, rows, len(self.train_dataset), int(self.args.data_seed))


class PackedRows(EqualShares):
    """Packed rows with the loss of `sharing`. The data collator packs; the network is within `packed_rows_in`."""

    before: Prefix | None = None
    """What every row begins with and the collator leaves out, computed once."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return Shuffled(self.real_rows, len(self.train_dataset), int(self.args.data_seed))

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The micro-batch's share of the mean over the supervised tokens of the whole window, partial ones too; without
        their number, the mean over its own."""
        loss = summed_loss(model, inputs, self.args.label_smoothing_factor, self.before)
        if num_items_in_batch is None:
            return loss / max(1, len(inputs["labels"]))
        # the count is that of all processes, and DDP takes the mean of their gradients
        return loss * self.accelerator.num_processes / num_items_in_batch


class Shuffled(Sampler[int]):  # type: ignore[misc]
    """Every epoch its own order of the rows, the same on every machine; blank rows, if any, come last.

    It follows from the seed and the epoch alone, so a run that goes on needs nothing more to find its place.
    """

    def __init__(self, rows: int, total: int, seed: int) -> None:
        self.rows, self.total, self.seed, self.epoch = rows, total, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        yield from torch.randperm(self.rows, generator=generator).tolist()
        yield from range(self.rows, self.total)


class Alike(Shuffled):
    """The same, with rows of about one length in one step, so that little is padded."""

    def __init__(self, lengths: Sequence[int], rows: int, total: int, seed: int) -> None:
        super().__init__(len(lengths), total, seed)
        self.lengths, self.pool = lengths, 50 * rows

    def __iter__(self) -> Iterator[int]:
        order = list(super().__iter__())
        for at in range(0, self.rows, self.pool):
            part = order[at : min(at + self.pool, self.rows)]
            yield from sorted(part, key=lambda row: -self.lengths[row])
        yield from order[self.rows :]
