"""What the registry's events come to: which versions there are, which one answers, which one is next.

Walks in: events, in order. Walks out: a `Standing`. It does not know files, models or HTTP, and nothing here fails
half-way: an event either fits the standing before it or is refused.

    register   a version, sealed; the first of a registry is its champion at once
    promote    it answers now; the one that answered before is remembered
    candidate  a share of the callers gets it, the champion answers the others; or it answers beside the champion
    pause      the candidate stays as it is, and nothing more happens to it by itself
    rollback   undoes the last promotion: a candidate is withdrawn, else the champion before this one answers again
    remove     its files go; never those of the champion, the candidate, or the version that a rollback leads to
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kasauti.core.errors import UsageError

KEEP = 3
"""The newest versions, which are never removed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One line of the log."""

    did: str
    """register, promote, candidate, pause, rollback or remove."""
    version: int
    """The version that it is about; for a rollback the one that answers afterwards."""
    who: str
    why: str
    at: str = ""
    """ISO 8601, UTC."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """register: sha256, folder, content; candidate: share, shadow, auto; rollback: withdrawn. What a service does by
    itself has `judged`, the figures it stands on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sealed:
    """A registered version's files."""

    sha256: str
    folder: str
    """Its name below `versions/`."""
    content: str
    """Hash of what it was made from; the same content is registered once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where things stand after the last event."""

    versions: Mapping[int, Sealed] = field(default_factory=dict)
    champion: int | None = None
    previous: tuple[int, ...] = ()
    """Versions that answered before, the latest last."""
    candidate: int | None = None
    share: float = 0.0
    """Percent of the callers that the candidate answers."""
    shadow: float = 0.0
    """Percent of the calls that both answer; the one whose answer is not given has it kept with the call."""
    auto: bool = False
    """Whether the service promotes or withdraws the candidate by itself."""
    paused: bool = False
    """Whether it did for a time, and has left it to a person."""
    since: str = ""
    """When the candidate was named, ISO 8601, UTC; what was seen before does not count."""
    removed: Mapping[int, Sealed] = field(default_factory=dict)
    """Versions whose files are to go, or are gone."""

    @property
    def next_number(self) -> int:
        """The number of the next version; none is ever used twice."""
        return max([*self.versions, *self.removed], default=0) + 1

    @property
    def held(self) -> set[int]:
        """Versions that must not be removed, whatever their age."""
        return {n for n in (self.champion, self.candidate, *self.previous[-1:]) if n is not None}

    def surplus(self, keep: int = KEEP) -> list[int]:
        """Versions to remove so that the newest `keep` and those that are held are left."""
        newest = sorted(self.versions)[-keep:] if keep else []
        return sorted(set(self.versions) - set(newest) - self.held)


_NOBODY: dict[str, Any] = {
    "candidate": None, "share": 0.0, "shadow": 0.0, "auto": False, "paused": False, "since": "",
}  # fmt: skip


def fold(events: Iterable[Event]) -> Standing:
    """All events, one after the other.

    Raises:
        UsageError: one does not fit.
    """
    standing = Standing()
    for event in events:
        standing = after(standing, event)
    return standing


def after(standing: Standing, event: Event) -> Standing:
    """The standing once the event has happened.

    Raises:
        UsageError: it cannot happen now; the reason in one line.
    """
    return _STEPS[event.did](standing, event)


def _register(standing: Standing, event: Event) -> Standing:
    if event.version != standing.next_number:
        what = f"version {event.version} was registered by another command meanwhile"
        raise UsageError(what, where="registry", mend="Run this command again.")
    more = event.more
    sealed = Sealed(sha256=more["sha256"], folder=more["folder"], content=more["content"])
    first = event.version if standing.champion is None else standing.champion
    return replace(standing, versions={**standing.versions, event.version: sealed}, champion=first)


def _promote(standing: Standing, event: Event) -> Standing:
    _known(standing, event.version)
    old = standing.champion
    if event.version == old:
        return replace(standing, **_NOBODY)
    previous = standing.previous if old is None else (*standing.previous, old)
    return replace(standing, champion=event.version, previous=previous, **_NOBODY)


def _candidate(standing: Standing, event: Event) -> Standing:
    _known(standing, event.version)
    share, shadow = float(event.more["share"]), float(event.more.get("shadow", 0.0))
    if not (0 < share < 100 or (share == 0 and shadow > 0)):
        mend = "Give a percentage between 0 and 100; without --canary all callers get it."
        raise UsageError(f"a canary of {share:g}%", where="--canary", mend=mend)
    if not 0 <= shadow <= 100:
        mend = "Give the percentage of the calls that both shall answer, up to 100."
        raise UsageError(f"a shadow of {shadow:g}%", where="--shadow", mend=mend)
    auto = bool(event.more.get("auto"))
    if auto and not shadow:
        raise UsageError("nothing to judge by: no call is answered by both", where="--auto", mend="Give --shadow too.")
    if event.version == standing.champion:
        raise UsageError(f"version {event.version} is the champion already", mend="Name the version that is to follow.")
    return replace(
        standing, candidate=event.version, share=share, shadow=shadow, auto=auto, paused=False, since=event.at
    )


def _pause(standing: Standing, event: Event) -> Standing:
    if standing.candidate != event.version or not standing.auto:
        mend = "Look at `kasauti versions` first."
        raise UsageError(f"version {event.version} is not tried by itself", where="registry", mend=mend)
    return replace(standing, auto=False, paused=True)


def _rollback(standing: Standing, event: Event) -> Standing:
    if event.version != rollback_target(standing):
        raise UsageError("another command changed the champion meanwhile", mend="Look at `kasauti versions` first.")
    if standing.candidate is not None:
        return replace(standing, **_NOBODY)
    return replace(standing, champion=event.version, previous=standing.previous[:-1])


def rollback_target(standing: Standing) -> int:
    """The version that answers after a rollback.

    Raises:
        UsageError: nothing was promoted that could be undone.
    """
    if standing.candidate is not None and standing.champion is not None:
        return standing.champion
    if not standing.previous:
        mend = "Name the version that shall answer: `kasauti promote N`."
        raise UsageError("there is no earlier champion to go back to", where="registry", mend=mend)
    return standing.previous[-1]


def _remove(standing: Standing, event: Event) -> Standing:
    _known(standing, event.version)
    if event.version in standing.held:
        raise UsageError(f"version {event.version} is in service, or next in line", mend="Promote another one first.")
    left = {number: sealed for number, sealed in standing.versions.items() if number != event.version}
    gone = {**standing.removed, event.version: standing.versions[event.version]}
    previous = tuple(number for number in standing.previous if number != event.version)
    return replace(standing, versions=left, removed=gone, previous=previous)


def _known(standing: Standing, number: int) -> None:
    if number not in standing.versions:
        gone = " any more" if number in standing.removed else ""
        known = ", ".join(map(str, sorted(standing.versions))) or "none yet"
        raise UsageError(f"there is no version {number}{gone}", where="registry", mend=f"Versions: {known}.")


_STEPS = {
    "register": _register,
    "promote": _promote,
    "candidate": _candidate,
    "pause": _pause,
    "rollback": _rollback,
    "remove": _remove,
}
