"""Which version answers: promoted, tried on a share of the callers, or taken back. Each is one event of the log.

Walks in: a registry, the number of a version, who wants it and why. Walks out: the standing afterwards. It does not
know how a service learns of it.
"""

from __future__ import annotations

from kasauti.core.errors import UsageError
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
    registry: Registry, number: int, share: float, *, who: str | None = None, why: str | None = None
) -> Standing:
    """Name a version the candidate, for a share of the callers in percent.

    Raises:
        UsageError: there is no such version, it is the champion, or the share is none.
        KasautiError: its files were changed.
    """
    registry.check(number)
    more = {"share": share}
    event = Event(did="candidate", version=number, who=who or this_user(), why=why or NO_REASON, more=more)

    def wanted(standing: Standing) -> Event | None:
        return None if (standing.candidate, standing.share) == (number, share) else event

    return registry.log.append(wanted)


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
