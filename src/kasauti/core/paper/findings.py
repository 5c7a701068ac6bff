"""Findings in the order and wording that pages show them.

Walks in: `Finding` values, or the dicts they become in a JSON file. Walks out: plain values for `parts.html`, the
worst first. It does not know what was checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kasauti.core.paper import words
from kasauti.core.types import Finding, Severity

BADGES = {Severity.STOP: "Stop", Severity.WARN: "Warning", Severity.NOTE: "Note"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding, ready to be read; fields as in `Finding`."""

    check: str
    severity: str
    badge: str
    what: str
    where: str
    count: int
    rows: tuple[int, ...]
    evidence: tuple[str, ...]
    why: str
    mend: str


def worst_first(findings: Sequence[Finding | Mapping[str, Any]]) -> list[Shown]:
    """All findings: what stops first, then warnings, then notes; within each, those of most rows first."""
    shown = [_shown(one) for one in findings]
    order = [member.value for member in Severity]
    return sorted(shown, key=lambda one: (order.index(one.severity), -one.count))


def tally(shown: Sequence[Shown]) -> list[tuple[str, str, int]]:
    """Severity, badge and number of findings, for each severity that occurs."""
    return [
        (member.value, badge, sum(one.severity == member for one in shown))
        for member, badge in BADGES.items()
        if any(one.severity == member for one in shown)
    ]


def _shown(one: Finding | Mapping[str, Any]) -> Shown:
    def read(name: str, default: Any = "") -> Any:
        value = one.get(name, default) if isinstance(one, Mapping) else getattr(one, name, default)
        return default if value is None else value

    known = [member for member in Severity if member.value == read("severity")]
    severity = known[0] if known else Severity.NOTE
    return Shown(
        check=str(read("check")),
        severity=severity.value,
        badge=BADGES[severity],
        what=str(read("what")),
        where=str(read("where")),
        count=int(words.finite(read("count")) or 0),
        rows=tuple(read("rows", ()))[:20],
        evidence=tuple(str(piece) for piece in read("evidence", ()))[:20],
        why=str(read("why")),
        mend=str(read("mend")),
    )
