"""What an audit shows beside the checks of the data: the supervision proof, lengths, rows to read, pairs of duplicates.

Walks in: a task, its parts. Walks out: `Seen`, plain values for `audit.json` and its page. It does not know the
checks of the data, or how a page looks. A model that cannot be used is a finding here, so that the data are audited
all the same.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import KasautiError
from kasauti.core.progress import Progress, Remark
from kasauti.core.types import Example, Finding, Severity, Task
from kasauti.data.conversation import content, messages
from kasauti.data.duplicates import near_groups, words
from kasauti.data.reading import LEARNT, random_rows
from kasauti.data.split import Divided

NEAR = 0.8
"""Word-set Jaccard from which two rows are laid side by side."""
PAIRS = 40
_OTHERWISE = "A model that is taught this learns something else than the answer and its end."
SUMMED = ("rows", "tokens", "supervised_tokens", "shortened_rows", "unknown_rows")
LARGEST = ("longest", "longest_answer")


@dataclass(kw_only=True)
class Seen:
    """What was seen."""

    findings: list[Finding] = field(default_factory=list)
    proof: dict[str, Any] | None = None
    """Counts over all rows; None where the proof could not be made or a row is at fault."""
    lengths: dict[str, Any] | None = None
    samples: list[dict[str, Any]] = field(default_factory=list)
    duplicates: list[dict[str, Any]] = field(default_factory=list)


class Audit(NamedTuple):
    """An audit on disk."""

    document: dict[str, Any]
    """What `audit.json` holds."""
    page: str
    """Path of `audit.html`."""
    findings: list[Finding]
    context: dict[str, Any]
    """What the page was made of."""
    divided: Divided

    @property
    def stops(self) -> int:
        """Findings that stop the work."""
        return sum(one["severity"] == "stop" for one in self.document["findings"])


def look(
    task: Task,
    parts: Mapping[str, Sequence[Example]],
    samples: int,
    progress: Progress,
    meanwhile: Callable[[], None] = lambda: None,
) -> Seen:
    """Prove every row that has a valid answer, lay out `samples` random ones that are no test rows, pair duplicates.

    Args:
        task: the task.
        parts: its rows.
        samples: how many rows to lay out.
        progress: told how far the proof is, from another thread.
        meanwhile: called while the rows are proved: other processes prove many rows, and this one is free.
    """
    seen = Seen(duplicates=duplicate_pairs(parts))
    try:
        bench = Workbench(task)
        frozen, tokenizer, recipe = bench.frozen, bench.tokenizer, bench.recipe
    except KasautiError as error:
        seen.findings.append(_stop("model", error, task.model, "Nothing can be prompted or tuned with this model."))
        meanwhile()
        return seen
    _beside(meanwhile, lambda told: _prove(task, parts, bench, told, seen), progress)
    _lay_out(task, parts, samples, frozen, tokenizer, recipe.length, seen)
    return seen


class _Stopped(BaseException):
    """Ends the work of the other thread; nobody is told of it."""


def _beside(here: Callable[[], None], there: Callable[[Progress], None], progress: Progress) -> None:
    """`here` in this thread and `there` in another, to the end of both; an error of either, Ctrl-C among them, ends the
    other at its next report of progress."""
    stop = threading.Event()

    def told(stage: str, done: int, total: int, remark: Remark = "") -> None:
        if stop.is_set():
            raise _Stopped
        progress(stage, done, total, remark)

    with ThreadPoolExecutor(1, "prove") as other:
        running = other.submit(contextvars.copy_context().run, there, told)
        try:
            here()
            running.result()
        except BaseException:
            stop.set()
            raise


def _prove(
    task: Task,
    parts: Mapping[str, Sequence[Example]],
    bench: Workbench,
    progress: Progress,
    seen: Seen,
) -> None:
    from kasauti.chat.render import Renderer
    from kasauti.chat.workers import Provers
    from kasauti.model.load import window_of, without_weights
    from kasauti.train.checks import labels_that_begin_alike, own_control_strings, too_long
    from kasauti.train.run import longest_answer

    frozen, tokenizer, recipe = bench.frozen, bench.tokenizer, bench.recipe
    renderer, window = Renderer(frozen, tokenizer), window_of(without_weights(task.model, task.folder))
    total, before, whole = sum(map(len, parts.values())), 0, True
    counts: dict[str, Any] = {}
    lengths: list[int] = []
    try:
        reserve = longest_answer(task, frozen, tokenizer)
    except KasautiError as error:
        seen.findings.append(_stop("supervision", error, "labels", _OTHERWISE))
        return
    settings: dict[str, Any] = {"max_length": recipe.length, "reserve": reserve, "allow_unknown": bool(task.labels)}
    with Provers(frozen, tokenizer, total, **settings) as provers:
        for part, examples in parts.items():
            progress("prove", before, total, part)
            rows = _answered(task, examples)
            try:
                given = ((row.row, messages(task, row, with_answer=False), row.answer or "") for row in rows)
                proof = provers.prove(given, _told(progress, before, total, part))
            except KasautiError as error:
                seen.findings.append(_stop("supervision", error, part, _OTHERWISE))
                whole = False
                continue
            finally:
                before += len(examples)
            lengths += proof.lengths
            for name in SUMMED:
                counts[name] = counts.get(name, 0) + getattr(proof, name)
            for name in LARGEST:
                counts[name] = max(counts.get(name, 0), getattr(proof, name))
            seen.findings += too_long(task, part, rows, proof.cut, renderer, recipe.length, window)
            seen.findings += own_control_strings(part, rows, renderer)
    seen.findings += labels_that_begin_alike(task, frozen, tokenizer) if whole else []
    progress("prove", total, total)
    seen.lengths = {"values": lengths, "limit": recipe.length, "unit": "tokens"} if lengths else None
    seen.proof = {**counts, "template_sha256": frozen.sha256, "length": recipe.length} if whole else None


def _told(progress: Progress, before: int, total: int, part: str) -> Callable[[int], None]:
    return lambda number: progress("prove", before + number, total, part)


def _answered(task: Task, examples: Sequence[Example]) -> list[Example]:
    """Rows that can be proved; the others are findings of the checks of the data."""
    return [e for e in examples if (e.answer or "").strip() and (not task.labels or e.answer in task.labels)]


def _stop(check: str, error: KasautiError, where: str, why: str) -> Finding:
    what = f"{error.where}: {error.what}" if error.where else error.what
    return Finding(check=check, severity=Severity.STOP, what=what, where=where, count=1, why=why, mend=error.mend)


def _lay_out(
    task: Task,
    parts: Mapping[str, Sequence[Example]],
    samples: int,
    frozen: Any,
    tokenizer: Any,
    length: int,
    seen: Seen,
) -> None:
    """Random rows of those that are learnt from, token by token; the same rows for the same seed."""
    learnt = {part: _answered(task, parts[part]) for part in LEARNT}
    try:
        view = token_viewer(task, frozen, tokenizer, length)
        for part, row in random_rows(learnt, samples, task.seed):
            sample = {"row": row.row, "part": part, "answer": row.answer, "text": content(row), "html": view(row)}
            seen.samples.append(sample)
    except KasautiError:  # told already by the proof
        return


def token_viewer(task: Task, frozen: Any, tokenizer: Any, length: int) -> Callable[[Example], str]:
    """Row → its tokens as markup. What is returned raises `KasautiError` for a row that cannot be taught."""
    from kasauti.chat.supervise import supervise
    from kasauti.chat.view import render_html, token_view
    from kasauti.train.run import longest_answer

    reserve = longest_answer(task, frozen, tokenizer)

    def view(row: Example) -> str:
        turns = messages(task, row, with_answer=False)
        made = supervise(frozen, tokenizer, turns, row.answer or "", length, reserve=reserve)
        return render_html(token_view(tokenizer, made))

    return view


def duplicate_pairs(parts: Mapping[str, Sequence[Example]]) -> list[dict[str, Any]]:
    """Rows that nearly repeat another, beside it: first those whose answers differ, then those in two parts; at most
    `PAIRS`.
    """
    pool = [(part, row) for part, examples in parts.items() for row in examples]
    pairs: list[tuple[tuple[bool, bool, float], int, dict[str, Any]]] = []
    for group in near_groups([content(row) for _, row in pool], NEAR):
        first = group[0]
        for other in group[1:]:
            (part_a, a), (part_b, b) = pool[first], pool[other]
            one, two = words(content(a)), words(content(b))
            similarity = len(one & two) / max(1, len(one | two))
            if similarity >= NEAR:
                rank = (a.answer == b.answer, part_a == part_b, -similarity)
                pairs.append(
                    (rank, len(pairs), {"similarity": similarity, "a": _side(part_a, a), "b": _side(part_b, b)})
                )
    return [pair for _, _, pair in sorted(pairs, key=lambda p: p[:2])[:PAIRS]]


def _side(part: str, row: Example) -> dict[str, Any]:
    return {"row": row.row, "part": part, "text": content(row), "answer": row.answer}
