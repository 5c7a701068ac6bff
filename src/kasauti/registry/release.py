"""Which version answers: promoted, tried on a share of the callers, or taken back. Each is one event of the log.

Walks in: a registry, the number of a version, who wants it and why. Walks out: the standing afterwards. It does not
know how a service learns of it.
"""

from __future__ import annotations

from kasauti.core.errors import UsageError
from kasauti.registry.judge import Judged, Verdict
from kasauti.registry.log import this_user
from kasauti.registry.standing import Event, Standing, rollback_target
from kasauti.registry.versions import Registry

NO_REASON = "no reason given"


def promote(registry: Registry, number: int, *, who: str | None = None, why: str | None = None) -> Standing:
    """Let a version answer everything from now on. The champion again changes nothing.

    Raises:
        UsageError: there is no such version.
        KasautiError: its files were changed.
    """
    registry.check(number)
    event = Event(did="promote", version=number, who=who or this_user(), why=why or NO_REASON)

    def wanted(standing: Standing) -> Event | None:
        return None if standing.champion == number and standing.candidate is None else event

    registry.log.append(wanted)
    return prune(registry)


def try_out(
    registry: Registry,
    number: int,
    share: float = 0.0,
    *,
    shadow: float = 0.0,
    auto: bool = False,
    who: str | None = None,
    why: str | None = None,
) -> Standing:
    """Name a version the candidate. Named again in the same way it stays as it is; in another, its figures begin anew.

    Args:
        share: percent of the callers that get its answers.
        shadow: percent of the calls that both answer.
        auto: let the service promote or withdraw it by itself, by what `judge` finds.

    Raises:
        UsageError: there is no such version, it is the champion, or neither share is more than 0.
        KasautiError: its files were changed.
    """
    registry.check(number)
    more = {"share": share, "shadow": shadow, "auto": auto}
    event = Event(did="candidate", version=number, who=who or this_user(), why=why or NO_REASON, more=more)

    def wanted(standing: Standing) -> Event | None:
        now = (standing.candidate, standing.share, standing.shadow, standing.auto)
        return None if now == (number, share, shadow, auto) else event

    return registry.log.append(wanted)


def settle(registry: Registry, seen: Standing, judged: Judged, *, who: str = "kasauti") -> Standing:
    """Do what was judged of the candidate, unless somebody did something with it meanwhile.

    Args:
        seen: the standing that was judged.

    Raises:
        KasautiError: the files of the version that would answer were changed.
    """
    done = {Verdict.PROMOTE: "promote", Verdict.ROLL_BACK: "rollback", Verdict.PAUSE: "pause"}
    if judged.verdict not in done or seen.candidate is None or seen.champion is None:
        return seen
    back = judged.verdict is Verdict.ROLL_BACK
    version = seen.champion if back else seen.candidate
    registry.check(version)
    more = {"judged": dict(judged.figures), **({"withdrawn": seen.candidate} if back else {})}
    event = Event(did=done[judged.verdict], version=version, who=who, why=judged.why, more=more)

    def wanted(standing: Standing) -> Event | None:
        alike = ("champion", "candidate", "since", "auto")
        same = all(getattr(standing, name) == getattr(seen, name) for name in alike)
        return event if same and standing.auto else None

    standing = registry.log.append(wanted)
    return prune(registry) if judged.verdict is Verdict.PROMOTE else standing


def rollback(registry: Registry, *, who: str | None = None, why: str | None = None) -> Standing:
    """Undo the last promotion: a candidate is withdrawn, else the champion before this one answers again.

    Raises:
        UsageError: nothing was promoted that could be undone.
        KasautiError: the files of the version that would answer were changed.
    """
    seen = registry.standing()
    target = rollback_target(seen)
    registry.check(target)
    more = {"withdrawn": seen.champion if seen.candidate is None else seen.candidate}
    event = Event(did="rollback", version=target, who=who or this_user(), why=why or NO_REASON, more=more)

    def wanted(standing: Standing) -> Event:
        if (standing.champion, standing.candidate) != (seen.champion, seen.candidate):
            mend = "Look at `kasauti versions` first."
            raise UsageError("another command changed the champion meanwhile", where="registry", mend=mend)
        return event

    return registry.log.append(wanted)


def prune(registry: Registry) -> Standing:
    """Remove what is beyond the newest three and not held; first in the log, then its files."""

    def next_one(standing: Standing) -> Event | None:
        surplus = standing.surplus()
        why = "beyond the versions that are kept"
        return Event(did="remove", version=surplus[0], who="kasauti", why=why) if surplus else None

    standing = registry.standing()
    while standing.surplus():
        standing = registry.log.append(next_one)
    registry.clear()
    return standing
