"""What goes wrong in training, seen in its log and said in words, with the figures that show it.

Walks in: the log of a run (losses of the steps, figures of the epochs), its recipe, its rows. Walks out: `Finding`s.
It knows no network and no trainer; every function is pure.

Each speaks only on evidence that a healthy run does not give, so that what is said is read.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from kasauti.core.types import Finding, Severity, Supervised
from kasauti.train.recipe import FEW, FEW_ROWS, FULL_LEARNING_RATE, SMALL, SMALL_MODEL, Recipe

WINDOW = 5
"""Steps over which a training loss is judged: one batch alone says little."""
ENOUGH_STEPS = 2 * WINDOW
MEMORISED = 200
"""Training rows under which an adapter learns the rows, not the task."""
CHANCE = 0.05
"""How rarely a guess by the most common label may do as well as a metric that counts as better than it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Log:
    """What a run has told so far."""

    recipe: Recipe
    parameters: int
    """Of the model."""
    rows: int
    """Training rows."""
    answer_tokens: float = 1.0
    """Supervised tokens of a row, on average."""
    losses: Sequence[float] = ()
    """Training loss of every step, nats a token."""
    epochs: Sequence[Mapping[str, float]] = ()
    """One entry an epoch: epoch, validation_loss, train_loss, and figures on the validation rows."""
    stopped: Finding | None = field(default=None)
    """Why it was ended early, where it was."""


def review(log: Log) -> list[Finding]:
    """All that the log shows, what ended the run first."""
    found = [check(log) for check in CHECKS]
    return [one for one in (log.stopped, *found) if one is not None]


def check_rows(rows: Sequence[Supervised]) -> Finding | None:
    """Rows whose prompt is taught as well: the model would learn to write questions, and to go on after its answer."""
    whole = [at for at, row in enumerate(rows, 1) if row.prefix_length <= 1]
    if not whole:
        return None
    return Finding(
        check="supervision",
        severity=Severity.STOP,
        what=f"{len(whole):,} of {len(rows):,} rows are supervised from their first token on: the prompt is taught too",
        where="train",
        count=len(whole),
        rows=whole[:20],
        why="The model would learn to write prompts, and to go on writing after its answer.",
        mend="supervise the answer and its end of turn only; `kasauti audit` shows every token",
    )


def diverged(losses: Sequence[float], recipe: Recipe) -> Finding | None:
    """A loss that is no number, or far over the lowest level that it had, for `WINDOW` steps on end.

    Far: more than twice as high and by more than a nat. The level is a mean over `WINDOW` steps.
    """
    if not losses:
        return None
    last = losses[-1]
    if math.isfinite(last):
        if len(losses) < 2 * WINDOW:
            return None
        sums = list(accumulate(losses[:-WINDOW], initial=0.0))
        level = min(late - early for early, late in zip(sums, sums[WINDOW:], strict=False)) / WINDOW
        if min(losses[-WINDOW:]) <= 2 * level + 1:
            return None
        what = f"the training loss rose from {level:.2f} to {statistics.fmean(losses[-WINDOW:]):.2f}"
    else:
        what = f"the training loss is {last}"
    return Finding(
        check="divergence",
        severity=Severity.STOP,
        what=f"{what} by step {len(losses)}, at a learning rate of {recipe.learning_rate:g}",
        where="train",
        evidence=[f"step {at}: {losses[at - 1]:.4g}" for at in _sampled(len(losses))],
        why="From here on every step makes the model worse.",
        mend=f"lower train.learning_rate (it is {recipe.learning_rate:g}) and run again",
    )


def nothing_good(log: Log) -> Finding | None:
    """No checkpoint is better than no training: the lowest validation loss is far over the first training loss."""
    held = [e["validation_loss"] for e in log.epochs if math.isfinite(e["validation_loss"])]
    if not log.losses or (held and min(held) <= 2 * log.losses[0] + 2):
        return None
    last = f"{min(held):.2f}" if held else "no number"
    return Finding(
        check="divergence",
        severity=Severity.STOP,
        what=f"the loss rose from {log.losses[0]:.2f} at step 1 to {last} on the validation rows, at a learning "
        f"rate of {log.recipe.learning_rate:g}",
        where="train",
        why="No epoch left weights that are better than untrained ones.",
        mend=f"lower train.learning_rate (it is {log.recipe.learning_rate:g}) and run again",
    )


def small_data(log: Log) -> Finding | None:
    """Too few rows for what is trained on them."""
    if log.rows >= FEW:
        return None
    r = log.recipe
    kept = {name: getattr(r, name) for name in FEW_ROWS if getattr(r, name) != FEW_ROWS[name]}
    if not kept:
        done = f"the recipe was made careful: {_told(FEW_ROWS)}"
    elif log.parameters < SMALL_MODEL:
        done = f"a model under {SMALL_MODEL:,} parameters keeps its own recipe"
    else:
        done = f"the task file keeps {_told(kept)}"
    memorises = "; under 200 it is the rows that are learnt, not the task" if log.rows < MEMORISED else ""
    return Finding(
        check="small data",
        severity=Severity.WARN,
        what=f"{log.rows:,} training rows are few for fine-tuning (500 at least, 2,000 are good){memorises}; {done}",
        where="train",
        count=log.rows,
        why="A model that is tuned on few rows repeats them, and knows little about the next one.",
        mend="label more rows; until then compare with the prompt in `kasauti trial`",
    )


def overfitting(log: Log) -> Finding | None:
    """Validation loss that has turned up, far over the training loss, while the task's metric gained nothing."""
    held = [e["validation_loss"] for e in log.epochs]
    if len(held) < 2:
        return None
    best = min(range(len(held)), key=held.__getitem__)
    train = log.epochs[-1].get("train_loss")
    turned = best < len(held) - 1 and held[-1] > 1.05 * held[best] + 0.01
    gap = train is not None and held[-1] > 2 * train
    if not turned or not gap or train is None:
        return None
    metrics = [e.get("validation_accuracy", 0.0) for e in log.epochs]
    if metrics[-1] > max(metrics[:-1]):
        return None  # surer than it should be, and right more often: calibration mends that
    return Finding(
        check="overfitting",
        severity=Severity.WARN,
        what=f"overfitting: validation loss turned up after epoch {log.epochs[best]['epoch']:g} "
        f"({held[best]:.3f} → {held[-1]:.3f}) while training loss fell to {train:.3f}",
        where="train",
        evidence=[f"epoch {e['epoch']:g}: validation loss {e['validation_loss']:.3f}" for e in log.epochs],
        why="The model learns the training rows by heart. The best checkpoint is kept, not the last.",
        mend="add rows, or lower train.epochs, train.r or train.learning_rate, or raise train.dropout",
    )


def rate_too_high(log: Log) -> Finding | None:
    """Training loss that ends over where it began; or nothing learnt, at ten times the usual rate or more."""
    first, last = _ends(log.losses)
    if last is None or first is None:
        return None
    rate, usual = log.recipe.learning_rate, usual_rate(log.recipe.method, log.parameters)
    rose = last > 1.2 * first + 0.1
    if not rose and not (rate >= 10 * usual and _at_chance(log) is not None):
        return None
    shown = (
        f"the training loss rose from {first:.3f} to {last:.3f}"
        if rose
        else (f"the training loss stays at {last:.3f} and validation accuracy at that of the most common label")
    )
    return Finding(
        check="learning rate",
        severity=Severity.WARN,
        what=f"the learning rate is too high: at {rate:g} ({rate / usual:,.0f} times the recipe's) {shown}",
        where="train.learning_rate",
        evidence=[f"step {at}: {log.losses[at - 1]:.4g}" for at in _sampled(len(log.losses))],
        why="Steps that are too long overshoot, and undo what the model knew.",
        mend=f"set train.learning_rate to {usual:g}, the recipe's default",
    )


def rate_too_low(log: Log) -> Finding | None:
    """Training loss that hardly moved, at a rate far under the usual one."""
    first, last = _ends(log.losses)
    usual = usual_rate(log.recipe.method, log.parameters)
    if last is None or first is None or log.recipe.learning_rate >= usual / 5 or not 0.95 * first < last < 1.2 * first:
        return None
    return Finding(
        check="learning rate",
        severity=Severity.WARN,
        what=f"the learning rate is too low: at {log.recipe.learning_rate:g} the training loss only went "
        f"from {first:.3f} to {last:.3f} in {len(log.losses):,} steps",
        where="train.learning_rate",
        evidence=[f"step {at}: {log.losses[at - 1]:.4g}" for at in _sampled(len(log.losses))],
        why="The model has hardly changed, so nothing can be said about fine-tuning from it.",
        mend=f"set train.learning_rate to {usual:g}, the recipe's default",
    )


def labels_unlearnt(log: Log) -> Finding | None:
    """No epoch better on validation than the most common label, though the training loss fell.

    Where an answer of the training rows costs clearly less than that entropy, they were learnt by
    heart, and the labels do not follow from the texts; otherwise it may also be that too little was learnt.
    """
    first, last = _ends(log.losses)
    best = _at_chance(log)
    if best is None or first is None or last is None or last >= first or rate_too_high(log) is not None:
        return None
    rows, majority, prior = int(best["validation_rows"]), best["validation_majority"], best["validation_prior_loss"]
    by_heart = last * log.answer_tokens < 0.8 * prior
    cause = (
        "the labels do not follow from the texts"
        if by_heart
        else "the labels do not follow from the texts, or too little was learnt to tell them apart"
    )
    look = "look whether labels and texts are in the same order and the target column is the right one"
    return Finding(
        check="labels",
        severity=Severity.WARN,
        what=f"after {len(log.epochs)} epochs validation accuracy is {best['validation_accuracy']:.1%} at best, no "
        f"better than always answering the most common label ({majority:.1%} of {rows} rows), "
        f"while the training loss fell from {first:.3f} to {last:.3f}: {cause}",
        where="data",
        count=rows,
        evidence=[f"epoch {e['epoch']:g}: accuracy {e['validation_accuracy']:.1%}" for e in log.epochs],
        why="What was learnt are the training rows by heart; nothing carries over to others."
        if by_heart
        else "An answer of this model says no more than how common each label is.",
        mend=look if by_heart else f"{look}; then raise train.epochs",
    )


def full_fine_tuning(log: Log) -> Finding | None:
    """Why every weight is rarely worth it."""
    if log.recipe.method != "full":
        return None
    return Finding(
        check="method",
        severity=Severity.WARN,
        what="every weight is trained: LoRA reaches about 95% of this quality at about 10% of its cost, and forgets "
        "less of what the model could do",
        where="train.method",
        why="It needs several times the memory, and every version is a whole model to keep and serve.",
        mend="set train.method to lora and compare; keep full only where that is measurably worse",
    )


CHECKS: tuple[Callable[[Log], Finding | None], ...] = (
    small_data,
    overfitting,
    rate_too_high,
    rate_too_low,
    labels_unlearnt,
    full_fine_tuning,
)


def usual_rate(method: str, parameters: int) -> float:
    """The recipe's learning rate for a model of this size."""
    rate = float(SMALL["learning_rate"] if parameters < SMALL_MODEL else Recipe().learning_rate)
    return float(f"{rate * (FULL_LEARNING_RATE if method == 'full' else 1):.6g}")


def impatient(epochs: Sequence[Mapping[str, float]], patience: int) -> bool:
    """Whether neither the validation loss nor the task's metric was better than ever before in the last `patience`
    epochs; 0 is never impatient."""
    if not patience or not epochs:
        return False
    losses = [e["validation_loss"] for e in epochs]
    newest = losses.index(min(losses))
    metrics = [e.get("validation_accuracy", -math.inf) for e in epochs]
    newest = max(newest, metrics.index(max(metrics)))
    return len(epochs) - 1 - newest >= patience


def choice(loss: float, metric: float | None) -> float:
    """What the best checkpoint has most of: the task's metric, and where that is equal (or there is none) the lower
    loss.

    A metric over n rows moves by 1/n, so a tie-break under one in a million never overrules it.
    """
    if not math.isfinite(loss):
        return -math.inf
    return -loss if metric is None else metric - 1e-6 * loss / (1 + loss)


def _at_chance(log: Log) -> Mapping[str, float] | None:
    """The best epoch, where after two or more none tells labels apart on the validation rows.

    Asked with both the hard answers (an exact binomial test against the share of the most common label) and the
    probabilities (log loss against the entropy of the label shares), since a good model of very uneven labels may not
    beat the first.
    """
    told = [e for e in log.epochs if {"validation_accuracy", "validation_majority", "validation_rows"} <= set(e)]
    if len(told) < 2:
        return None
    best = max(told, key=lambda e: e["validation_accuracy"])
    rows = int(best["validation_rows"])
    if _at_least(round(best["validation_accuracy"] * rows), rows, best["validation_majority"]) < CHANCE:
        return None
    known = min(e["validation_log_loss"] for e in told) < 0.98 * best["validation_prior_loss"]
    return None if known else best


def _ends(losses: Sequence[float]) -> tuple[float | None, float | None]:
    """Median of the first and of the last `WINDOW` losses; None for too few."""
    if len(losses) < ENOUGH_STEPS:
        return None, None
    return statistics.median(losses[:WINDOW]), statistics.median(losses[-WINDOW:])


def _at_least(right: int, rows: int, chance: float) -> float:
    """P(X >= right) for `rows` tries with probability `chance` each."""
    from scipy.stats import binom

    return float(binom.sf(right - 1, rows, chance))


def _sampled(steps: int, most: int = 8) -> list[int]:
    """At most `most` steps, evenly, the first and the last among them."""
    if steps <= most:
        return list(range(1, steps + 1))
    return sorted({1 + round(at * (steps - 1) / (most - 1)) for at in range(most)})


def _told(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {'/'.join(v) if isinstance(v, tuple) else format(v, 'g')}" for name, v in settings.items()
    )
