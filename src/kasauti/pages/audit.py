"""Findings and rows → audit.html.

Walks in: findings, and what the audit saw: counts, lengths, sample rows, pairs of duplicates. Walks out: one page that
needs nothing else. It does not check anything, and knows no tokenizer: token views are handed in as ready-made markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kasauti.core.files import atomic_write
from kasauti.core.paper import grids, words
from kasauti.core.paper.findings import Shown, tally, worst_first
from kasauti.core.paper.page import render
from kasauti.core.paper.scale import round_step
from kasauti.core.paper.svg import Chart, Svg, chart
from kasauti.core.types import Finding

PARTS = ("train", "validation", "test")
BARS = 80
"""Labels whose bars are drawn; the smallest ones beyond that are counted in words."""
PAIRS = 40
"""Pairs of duplicates that are laid side by side."""
FAR = 3.0
"""The cut is drawn up to this many times the longest row."""
SAMPLES = 10
"""Rows to read that are open from the start."""


def render_audit(findings: Sequence[Finding | Mapping[str, Any]], context: Mapping[str, Any]) -> str:
    """The audit as one HTML document.

    Args:
        findings: `Finding` values or their dicts, in any order; shown worst first.
        context: what the audit saw; every key may be missing.
            task, created, kasauti, data_version: texts; created in ISO 8601.
            rows: rows of each part, `{"train": 1356, "validation": 170, "test": 452}`.
            labels: `{label: {"train": 61, "validation": 7, "test": 20}}`.
            lengths: `{"values": [tokens of each row], "limit": 512, "unit": "tokens"}`; for `values`, `edges` and
                `counts` of a histogram do as well.
            proof: counts of the supervision proof, name → number, shown as they are named.
            samples: `[{"row", "part", "answer", "text", "html"}]`; `html` is markup that is safe already and is not
                escaped.
            duplicates: `[{"similarity", "a": {"row", "part", "text", "answer"}, "b": {…}}]`, similarity 0 to 1.
    """
    return render(Path(__file__).parent, "audit.html", **audit_values(findings, context))


def audit_values(findings: Sequence[Finding | Mapping[str, Any]], context: Mapping[str, Any]) -> dict[str, Any]:
    """What the template of the audit names, also for pages that extend it. Arguments as of `render_audit`."""
    context = {name: part for name, part in context.items() if part is not None}
    shown = worst_first(findings)
    labels, lengths = _labels(context), _lengths(context)
    samples = [_sample(one) for one in _list(context, "samples")]
    pairs = [_pair(one) for one in _list(context, "duplicates")][:PAIRS]
    there = {
        ("findings", "Findings"): True,
        ("labels", "Labels"): labels is not None,
        ("lengths", "Lengths"): lengths is not None,
        ("rows", "Rows to read"): bool(samples),
        ("duplicates", "Duplicates"): bool(pairs),
        ("seen", "What was looked at"): True,
    }
    return {
        "sections": [section for section, present in there.items() if present],
        "context": context,
        "findings": shown,
        "headlines": headlines(shown),
        "counts": tally(shown),
        "labels": labels,
        "parts_seen": _parts(context),
        "lengths": lengths,
        "samples": samples[:SAMPLES],
        "more": samples[SAMPLES:],
        "pairs": pairs,
        "seen": _seen(context),
        "pairs_total": len(_list(context, "duplicates")),
        "total": _total(context),
    }


def write_audit(findings: Sequence[Finding | Mapping[str, Any]], context: Mapping[str, Any], path: str | Path) -> Path:
    """Render an audit and write the page whole or not at all. Raises `StorageError`."""
    return atomic_write(path, render_audit(findings, context))


def headlines(findings: Sequence[Shown]) -> list[str]:
    """What the findings come to, in one or two sentences."""
    counts = {severity: number for severity, _, number in tally(findings)}
    if stops := counts.get("stop", 0):
        which = "it" if stops == 1 else "them"
        return [f"{words.plural(stops, 'problem stops', 'problems stop')} the work.", f"Mend {which} before training."]
    if warnings := counts.get("warn", 0):
        return ["Nothing stops the work.", f"{words.plural(warnings, 'warning')} to weigh."]
    if findings:
        return ["The data is fit to train on.", f"{words.plural(len(findings), 'note')} to read."]
    return ["Nothing was found."]


def length_bins(values: Sequence[int], bins: int = 24) -> tuple[list[float], list[int]]:
    """Edges and counts of a histogram with round edges from zero; about `bins` of them."""
    step = max(1.0, round_step(max([*values, 1]) / bins))
    size = int(max([*values, 0]) // step) + 1
    counts = [0] * size
    for value in values:
        counts[int(value // step)] += 1
    return [step * index for index in range(size + 1)], counts


def _labels(context: Mapping[str, Any]) -> Chart | None:
    """Rows of each label in each part, most first."""
    table = context.get("labels")
    if not isinstance(table, Mapping) or not table:
        return None
    parts = _parts(context)
    rows = [grids.Bar(str(name), [int(counts.get(part, 0)) for part in parts]) for name, counts in table.items()]
    rows.sort(key=lambda bar: -sum(bar.parts))
    most, least = rows[0], rows[-1]
    title = f"{most.label} has {words.plural(sum(most.parts), 'row')}"
    title += f", {least.label} {words.count(sum(least.parts))}" if len(rows) > 1 else ""
    note = f"{words.count(len(rows) - BARS)} smaller labels are left out." if len(rows) > BARS else ""
    return chart(title, lambda width: grids.bars(rows[:BARS], width, title=title, parts=parts), note=note)


def _parts(context: Mapping[str, Any]) -> list[str]:
    """Names of the parts that labels are counted in, in the order of their use."""
    table = context.get("labels")
    found = {part for counts in table.values() for part in counts} if isinstance(table, Mapping) else set()
    return [part for part in PARTS if part in found] + sorted(found - set(PARTS))


def _lengths(context: Mapping[str, Any]) -> Chart | None:
    """Lengths of all rows, and where they are cut."""
    part = context.get("lengths")
    if not isinstance(part, Mapping):
        return None
    values, limit, unit = part.get("values") or [], words.finite(part.get("limit")), str(part.get("unit") or "tokens")
    edges, counts = length_bins(values) if values else (part.get("edges") or [], part.get("counts") or [])
    if not counts:
        return None
    longest = max(values) if values else None
    over = part.get("over", sum(value > limit for value in values) if limit is not None else 0)
    if over:
        title = f"{words.plural(over, 'row is', 'rows are')} longer than {words.count(limit)} {unit}"
    elif longest is not None:
        title = f"The longest row has {words.count(longest)} {unit}"
        title += f"; the limit is {words.count(limit)}" if limit else ""
    else:
        title = f"No row is longer than {words.count(limit)} {unit}" if limit else f"Rows by number of {unit}"
    # a limit far to the right would press all rows into the left edge; the note tells where it is
    cut = limit if limit is not None and limit <= FAR * edges[-1] else None
    note = f"The cut at {words.count(limit)} {unit} is far to the right." if limit is not None and cut is None else ""

    def draw(width: int) -> Svg:
        return grids.histogram(
            edges,
            counts,
            width,
            title=title,
            x_name=f"{unit} in a row, prompt and answer",
            y_name="rows",
            cut=cut,
            cut_name=f"limit: {words.count(limit)}",
        )

    return chart(title, draw, note=note)


def _sample(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**_blank("row", "part", "answer", "text"), **one, "html": Svg(one.get("html") or "")}


def _pair(one: Mapping[str, Any]) -> dict[str, Any]:
    sides = [{**_blank("row", "part", "text", "answer"), **(one.get(side) or {})} for side in ("a", "b")]
    return {
        "similarity": one.get("similarity"),
        "sides": sides,
        "differ": sides[0]["answer"] != sides[1]["answer"],
        "straddles": None not in (sides[0]["part"], sides[1]["part"]) and sides[0]["part"] != sides[1]["part"],
    }


def _seen(context: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of what was looked at."""
    rows, proof = _table(context, "rows"), _table(context, "proof")
    found = [
        ("Task", context.get("task")),
        ("Made", words.when(context.get("created"))),
        ("Kasauti", context.get("kasauti")),
        ("Rows", ", ".join(f"{part} {words.count(number)}" for part, number in rows.items())),
        ("Data version", context.get("data_version")),
        *((str(name).replace("_", " ").capitalize(), _plain(value)) for name, value in proof.items()),
    ]
    return [(name, str(value)) for name, value in found if value not in (None, "", words.MISSING)]


def _plain(value: Any) -> str:
    return words.count(value) if isinstance(value, int) and not isinstance(value, bool) else words.ordinary(value)


def _total(context: Mapping[str, Any]) -> int:
    return sum(int(number) for number in _table(context, "rows").values())


def _blank(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names)


def _table(context: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = context.get(name)
    return value if isinstance(value, Mapping) else {}


def _list(context: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = context.get(name)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list | tuple) else []
