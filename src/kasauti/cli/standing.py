"""What `promote`, `rollback` and `register` share: who and why, and the standing afterwards.

Walks in: parsed arguments, a standing. Walks out: plain values and sentences. It does not change a registry.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kasauti.registry.standing import Standing


def add_reason(parser: argparse.ArgumentParser) -> None:
    """--who and --why, for commands that change what answers."""
    parser.add_argument("--why", metavar="TEXT", help="the reason, for the log")
    parser.add_argument("--who", metavar="NAME", help="who wants it, for the log (default: the user of this system)")


def standing_document(standing: Standing) -> dict[str, Any]:
    """Who answers, for JSON."""
    return {
        "champion": standing.champion,
        "candidate": standing.candidate,
        "share": standing.share,
        "shadow": standing.shadow,
        "auto": standing.auto,
        "paused": standing.paused,
        "previous": list(standing.previous),
        "versions": sorted(standing.versions),
    }


def standing_lines(standing: Standing) -> list[str]:
    """Who answers, in a sentence, and what a rollback would do."""
    told = f"Version {standing.champion} answers."
    if standing.candidate is not None:
        ways = [f"is tried on {standing.share:g}%"] if standing.share else []
        ways += [f"answers beside it in {standing.shadow:g}% of the calls"] if standing.shadow else []
        ways += ["is promoted or withdrawn by itself"] if standing.auto else []
        ways += ["waits for a person"] if standing.paused else []
        told = f"Version {standing.champion} answers; version {standing.candidate} {' and '.join(ways)}."
    if standing.candidate is None and standing.previous:
        return [f"{told} `kasauti rollback` goes back to version {standing.previous[-1]}."]
    return [told]
