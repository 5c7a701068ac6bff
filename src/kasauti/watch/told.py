"""Who has been told what: no alert twice, and none at night that can wait for the morning.

Walks in: alerts that stand, a moment, names of channels. Walks out: what each channel is still to be told. It sends
nothing.

An alert is one check in one place (`category: refund_delayed`). It is told once on each channel, and again when it is
back after it was gone for `GONE`, or when it has become worse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.files import read_json, write_json
from kasauti.core.types import Finding, Severity

GONE = timedelta(days=1)
"""A figure that moves around its bound is one alert, not one an hour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quiet:
    """Hours in which only what stops the work is told."""

    begin: time
    end: time
    zone: tzinfo = UTC

    @classmethod
    def parse(cls, text: str, zone: str | None = None) -> Self:
        """Read `22:00-07:00`.

        Args:
            zone: an IANA name such as `Asia/Kolkata`; None for UTC.

        Raises:
            UsageError: no such hours, or no such zone.
        """
        found = re.fullmatch(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})", text.strip())
        try:
            if found is None:
                raise ValueError(text)
            numbers = list(map(int, found.groups()))
            begin, end = time(numbers[0], numbers[1]), time(numbers[2], numbers[3])
        except ValueError:
            mend = "Write them as 22:00-07:00, hours 0 to 23."
            raise UsageError(f"the quiet hours are {text!r}", where="--quiet", mend=mend) from None
        try:
            return cls(begin=begin, end=end, zone=UTC if zone is None else ZoneInfo(zone))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            mend = "Give a name such as Asia/Kolkata."
            raise UsageError(f"there is no time zone {zone!r}", where="--zone", mend=mend) from None

    def holds(self, at: datetime) -> bool:
        """Whether a moment (aware) is within them; the last minute is not."""
        now = at.astimezone(self.zone).time()
        if self.begin <= self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end


class Told:
    """The memory of what was told, in one file.

    Args:
        path: a JSON file; made when something is first told. One that cannot be read counts as empty: an alert told
            twice is better than one never told.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, dict[str, Any]] = {}
        if path.exists():
            try:
                found = read_json(path)
                for key, one in dict(found["alerts"]).items():
                    datetime.fromisoformat(one["seen"])
                    self._known[key] = {"seen": one["seen"], "since": one["since"], "told": dict(one["told"])}
            except (KasautiError, AttributeError, KeyError, TypeError, ValueError):
                self._known = {}

    def see(self, alerts: Sequence[Finding], at: datetime) -> None:
        """Take note of the alerts that stand at a moment; those that have been gone for `GONE` are forgotten."""
        for one in alerts:
            kept = self._known.get(key_of(one))
            if kept is None or at - datetime.fromisoformat(kept["seen"]) >= GONE:
                kept = self._known[key_of(one)] = {"since": at.isoformat(), "told": {}}
            kept["seen"] = at.isoformat()
        for key, kept in list(self._known.items()):
            if at - datetime.fromisoformat(kept["seen"]) >= GONE:
                del self._known[key]

    def due(self, alerts: Sequence[Finding], channel: str, at: datetime, quiet: Quiet | None = None) -> list[Finding]:
        """Those of the alerts that stand which a channel is to be told now."""
        held = quiet is not None and quiet.holds(at)
        return [
            one
            for one in alerts
            if self._known.get(key_of(one), {}).get("told", {}).get(channel) not in _as_bad_as(one.severity)
            and (not held or one.severity is Severity.STOP)
        ]

    def tell(self, alerts: Sequence[Finding], channel: str) -> None:
        """A channel was told."""
        for one in alerts:
            self._known[key_of(one)]["told"][channel] = one.severity.value

    def since(self, alert: Finding) -> str | None:
        """When an alert began to stand, ISO 8601; None for one that was not seen."""
        kept = self._known.get(key_of(alert))
        return None if kept is None else str(kept["since"])

    def save(self) -> None:
        """Write it down. Raises `StorageError`."""
        write_json(self.path, {"alerts": self._known})

    @property
    def known(self) -> Mapping[str, Mapping[str, Any]]:
        """Alert → when it was last seen, since when it stands, who was told."""
        return self._known


def key_of(alert: Finding) -> str:
    """What makes two alerts the same."""
    return f"{alert.check}: {alert.where}"


def _as_bad_as(severity: Severity) -> set[str]:
    order = list(Severity)
    return {one.value for one in order[: order.index(severity) + 1]}
