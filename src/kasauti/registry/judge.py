"""Whether a candidate is promoted, rolled back, tried on, or left to a person: by figures of calls that both answered.

Walks in: pairs of answers to the same calls, in order; the calls of both arms of a canary. Walks out: a verdict with
its reasons. It does not know where calls are kept, and it changes nothing.

Every claim is bet against (`measure.sequential`), so a look after every call has the error rates that are stated:

    roll back   surely less right, more faults, more late answers, or another answer to more than half of the calls;
                a candidate of which none of it is true is rolled back with probability `BACK` at most
    promote     surely not worse by more than the margins, in answers, faults and lateness; a candidate that is worse by
                more is promoted with probability `FORTH` at most
    pause       not settled by the end, or promotable but for a category that doubled or ceased: a person decides
    go on       otherwise

Only answers that differ need a reader. One that is not read yet counts as if it spoke against whatever is bet on, so a
queue that is behind delays a verdict and makes none.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVELS = {"answers": 0.02, "faults": 0.01, "late": 0.01, "disagreements": 0.01}
"""How probable a wrong rollback may be for each reason; for faults and late answers half of it for either way to see
them."""
BACK = sum(LEVELS.values())
FORTH = 0.05
CATEGORY_LEVEL = 0.01
"""How probable it may be that a category holds a promotion up, all categories together, with nothing wrong."""


class Verdict(enum.StrEnum):
    """What becomes of a candidate."""

    PROMOTE = "promote"
    """It answers everything from now on."""
    ROLL_BACK = "roll back"
    """It is withdrawn."""
    GO_ON = "go on"
    """Not settled yet."""
    PAUSE = "pause"
    """Nothing more happens by itself: a person decides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """When a release is settled."""

    margin: float = 0.02
    """How much less often right a candidate may be and still be promoted, as a share of the calls."""
    faults: float = 0.01
    """By how much more of its answers may be abstained, unparsable or failed."""
    late: float = 0.01
    """By how much more of its answers may be late."""
    late_seconds: float = 2.0
    disagree: float = 0.5
    """A candidate that answers more of the calls otherwise is withdrawn, read or not."""
    most_read: int = 500
    """Pause after so many readings."""
    most_days: float = 14.0
    """Pause after so long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Calls that both versions answered, in order; arrays of the same length."""

    champion: NDArray[np.int64]
    """Number of the category that the champion gave."""
    candidate: NDArray[np.int64]
    right: NDArray[np.float64]
    """1 where a reader found only the candidate right, -1 only the champion, 0 neither; NaN where nobody has read."""
    faults: NDArray[np.float64]
    """1 where only the candidate's answer is abstained, unparsable or failed, -1 where only the champion's, else 0."""
    late: NDArray[np.float64]
    """The same for answers that took too long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arms:
    """Calls whose callers got either, in order; arrays of the same length."""

    candidate: NDArray[np.bool_]
    """Whether the candidate's answer was given."""
    faults: NDArray[np.bool_]
    late: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A verdict."""

    verdict: Verdict
    why: str
    """One line, for the log."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What it stands on; `evidence` holds for each claim how far the bet against it is, 1 at its bound."""


def judge(pairs: Pairs, arms: Arms | None, rule: Rule, *, days: float, names: tuple[str, ...]) -> Judged:
    """The verdict at this moment.

    Args:
        pairs: since the release began.
        arms: None where no caller gets the candidate.
        days: since the release began.
        names: of the categories, by their number.
    """
    figures = figures_of(pairs, arms)
    worse, fine = worse_by(pairs, arms, rule), not_worse_by(pairs, rule)
    moved = moved_categories(pairs, names)
    figures |= {"evidence": {"roll back": worse, "promote": fine}, "moved": moved}
    told = _told(figures)
    if any(far >= 1 for far in worse.values()):
        what = ", ".join(_WORSE[name] for name, far in worse.items() if far >= 1)
        return Judged(verdict=Verdict.ROLL_BACK, why=f"{what}; {told}", figures=figures)
    if all(far >= 1 for far in fine.values()):
        if moved:
            why = f"not worse, but {', '.join(moved)} doubled or ceased; {told}"
            return Judged(verdict=Verdict.PAUSE, why=why, figures=figures)
        why = f"not worse by more than {100 * rule.margin:g} points; {told}"
        return Judged(verdict=Verdict.PROMOTE, why=why, figures=figures)
    if figures["read"] >= rule.most_read or days >= rule.most_days:
        return Judged(verdict=Verdict.PAUSE, why=f"not settled after {days:.1f} days; {told}", figures=figures)
    return Judged(verdict=Verdict.GO_ON, why=f"not settled yet; {told}", figures=figures)


_WORSE = {
    "answers": "less often right",
    "faults": "more faults",
    "late": "more late answers",
    "disagreements": "another answer too often",
}


def worse_by(pairs: Pairs, arms: Arms | None, rule: Rule) -> dict[str, float]:
    """For each reason to roll back, how far the bet on it got at its best: 1 is its bound."""
    import numpy as np

    from kasauti.measure.sequential import against_equal_shares, against_mean

    unread_for = -np.where(np.isnan(pairs.right), 1.0, pairs.right)
    differ = (pairs.champion != pairs.candidate).astype(float)
    bets = {
        "answers": [against_mean(unread_for)],
        "faults": [against_mean(pairs.faults)],
        "late": [against_mean(pairs.late)],
        "disagreements": [against_mean(differ, rule.disagree)],
    }
    if arms is not None:
        bets["faults"].append(against_equal_shares(arms.candidate, arms.faults))
        bets["late"].append(against_equal_shares(arms.candidate, arms.late))
    split = {"faults": 2, "late": 2}  # the level is for both ways together
    return {
        name: max(_far(one, LEVELS[name] / split.get(name, 1)) for one in several) for name, several in bets.items()
    }


def not_worse_by(pairs: Pairs, rule: Rule) -> dict[str, float]:
    """For each claim that a promotion needs, how far the bet on it got at its best. All have to hold, so none is
    corrected for the others."""
    import numpy as np

    from kasauti.measure.sequential import against_mean

    right = np.where(np.isnan(pairs.right), -1.0, pairs.right)
    return {
        "answers": _far(against_mean(right, -rule.margin), FORTH),
        "faults": _far(against_mean(-pairs.faults, -rule.faults), FORTH),
        "late": _far(against_mean(-pairs.late, -rule.late), FORTH),
    }


def _far(log_wealth: NDArray[np.float64], level: float) -> float:
    """The most that was ever made, as a share of what is needed: a bet that was won stays won."""
    return round(max(0.0, float(log_wealth.max(initial=0.0))) / math.log(1 / level), 4)


def moved_categories(pairs: Pairs, names: tuple[str, ...]) -> list[str]:
    """Categories that the candidate gives at least twice as often as the champion, or not at all, beyond chance."""
    import numpy as np

    from kasauti.measure.sequential import against_even

    old, new = (np.bincount(one, minlength=len(names)) for one in (pairs.champion, pairs.candidate))
    kept = np.bincount(pairs.champion[pairs.champion == pairs.candidate], minlength=len(names))
    bound = math.log(max(1, len(names)) / CATEGORY_LEVEL)
    return [
        name
        for at, name in enumerate(names)
        if (new[at] >= 2 * old[at] or new[at] == 0) and against_even(new[at] - kept[at], old[at] - kept[at]) >= bound
    ]


def figures_of(pairs: Pairs, arms: Arms | None) -> dict[str, Any]:
    """What is counted, for people to look at."""
    import numpy as np

    differ = pairs.champion != pairs.candidate
    read = differ & ~np.isnan(pairs.right)
    told: dict[str, Any] = {
        "pairs": len(differ),
        "disagreements": int(differ.sum()),
        "read": int(read.sum()),
        "candidate_right": int((pairs.right[read] > 0).sum()),
        "champion_right": int((pairs.right[read] < 0).sum()),
        "faults": {"candidate": int((pairs.faults > 0).sum()), "champion": int((pairs.faults < 0).sum())},
        "late": {"candidate": int((pairs.late > 0).sum()), "champion": int((pairs.late < 0).sum())},
    }
    if arms is not None:
        told["canary"] = {
            name: {"calls": int(side.sum()), "faults": int(arms.faults[side].sum()), "late": int(arms.late[side].sum())}
            for name, side in (("candidate", arms.candidate), ("champion", ~arms.candidate))
        }
    return told


def _told(figures: Mapping[str, Any]) -> str:
    return (
        f"{figures['pairs']:,} calls answered by both, {figures['disagreements']:,} otherwise, {figures['read']:,} of "
        f"them read: the candidate right in {figures['candidate_right']:,}, the champion in "
        f"{figures['champion_right']:,}"
    )
