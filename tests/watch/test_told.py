"""No alert is told twice, none is lost, and the night is for what cannot wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.watch.conftest import NOW

from kasauti.core.errors import UsageError
from kasauti.core.types import Finding, Severity
from kasauti.watch.told import Quiet, Told

SOFT = Finding(check="category", severity=Severity.WARN, what="twice", where="card")
HARD = Finding(check="latency", severity=Severity.STOP, what="slow", where="p95")


def told(path, alerts, at, channel="log", quiet=None):
    """One look: what a channel is told."""
    memory = Told(path)
    memory.see(alerts, at)
    due = memory.due(alerts, channel, at, quiet)
    memory.tell(due, channel)
    memory.save()
    return due


def test_an_alert_is_told_once_on_each_channel(tmp_path):
    path = tmp_path / "told.json"
    assert told(path, [SOFT, HARD], NOW) == [SOFT, HARD]
    assert told(path, [SOFT, HARD], NOW + timedelta(hours=1)) == []
    assert told(path, [SOFT], NOW + timedelta(hours=2), channel="mail") == [SOFT]


def test_it_is_told_again_when_it_comes_back_and_not_when_it_flickers(tmp_path):
    path = tmp_path / "told.json"
    told(path, [SOFT], NOW)
    told(path, [], NOW + timedelta(hours=5))
    assert told(path, [SOFT], NOW + timedelta(hours=10)) == []
    told(path, [], NOW + timedelta(hours=36))
    assert told(path, [SOFT], NOW + timedelta(hours=37)) == [SOFT]


def test_it_is_told_again_when_it_becomes_worse(tmp_path):
    path, worse = tmp_path / "told.json", replace(SOFT, severity=Severity.STOP)
    told(path, [SOFT], NOW)
    assert told(path, [worse], NOW) == [worse]
    assert told(path, [SOFT], NOW) == []


def test_at_night_only_what_stops_is_told_and_the_rest_in_the_morning(tmp_path):
    path, quiet = tmp_path / "told.json", Quiet.parse("22:00-07:00", "Asia/Kolkata")
    night = datetime.fromisoformat("2026-11-24T23:30:00+05:30")
    assert told(path, [SOFT, HARD], night, quiet=quiet) == [HARD]
    assert told(path, [SOFT, HARD], night + timedelta(hours=8), quiet=quiet) == [SOFT]


def test_a_damaged_memory_tells_again(tmp_path):
    path = tmp_path / "told.json"
    told(path, [HARD], NOW)
    path.write_text('{"alerts": [1]}')
    assert told(path, [HARD], NOW) == [HARD]


@given(st.integers(0, 23), st.integers(0, 23), st.integers(0, 23))
def test_hours_over_midnight_are_the_complement(begin, end, hour):
    at = NOW.replace(hour=hour)
    one, other = Quiet.parse(f"{begin}:00-{end}:00"), Quiet.parse(f"{end}:00-{begin}:00")
    if begin != end:
        assert one.holds(at) != other.holds(at)


@pytest.mark.parametrize(("text", "zone"), [("night", None), ("25:00-07:00", None), ("22:00-07:00", "Mars/Olympus")])
def test_no_such_hours(text, zone):
    with pytest.raises(UsageError):
        Quiet.parse(text, zone)
