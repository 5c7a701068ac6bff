"""The tables as queries see them.

Walks in: nothing. Walks out: table objects. How they are made in a database is in `steps.py`.

Times are whole microseconds since 1970 in UTC, so that both databases calculate alike. JSON is kept as text:
PostgreSQL's own type refuses the character U+0000, which callers may send.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, MetaData, SmallInteger, String, Table

SLOT_US = 30 * 60 * 1_000_000
"""Microseconds that a row of `tallies` covers: half an hour, so that nearly every time zone's day is whole slots."""

meta = MetaData()

calls = Table(
    "calls",
    meta,
    Column("seq", BigInteger, primary_key=True),  # in order of arrival here, which is not quite the order of time
    Column("id", String, nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("category", String, nullable=False),
    Column("ended", String, nullable=False),
    Column("answer", String),
    Column("confidence", Float),
    Column("accepted", Boolean, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("log_mass", Float),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("cost", Float, nullable=False),
    Column("caller", String),
    Column("key", String),
    Column("prompt_sha256", String, nullable=False),
    Column("masked", Boolean, nullable=False),
    Column("fields", String, nullable=False),
    Column("history", String),
    Column("metadata", String),
    Column("probabilities", String),
    Column("raw", String),
)

tallies = Table(
    "tallies",
    meta,
    Column("slot", BigInteger, primary_key=True),  # number of half hours since 1970
    Column("version", Integer, primary_key=True),
    Column("figure", String, primary_key=True),  # answer, latency, confidence, key
    Column("name", String, primary_key=True),  # category, number of the bucket, name of the key
    Column("outcome", String, primary_key=True),
    Column("shard", SmallInteger, primary_key=True),  # so that services beside each other seldom wait for one row
    Column("calls", BigInteger, nullable=False),
)

reviews = Table(
    "reviews",
    meta,
    Column("seq", BigInteger, primary_key=True),
    Column("call_id", String, nullable=False),
    Column("round", SmallInteger, nullable=False),  # 1, or 2 where a second reviewer reads the same call
    Column("reason", String, nullable=False),
    Column("priority", Float, nullable=False),
    Column("offered", BigInteger, nullable=False),
    Column("lease_by", String),
    Column("lease_until", BigInteger),
    Column("reviewer", String),
    Column("label", String),
    Column("note", String),
    Column("decided", BigInteger),
    Column("answered", String),  # these three are the call's, kept when it is decided: the call may expire
    Column("version", Integer),
    Column("called", BigInteger),
)

shadows = Table(
    "shadows",
    meta,
    Column("seq", BigInteger, primary_key=True),
    Column("call_id", String, nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),
    Column("champion", Integer, nullable=False),  # the two versions, whichever of them the caller got
    Column("candidate", Integer, nullable=False),
    Column("champion_category", String, nullable=False),
    Column("candidate_category", String, nullable=False),
    Column("champion_ended", String, nullable=False),
    Column("candidate_ended", String, nullable=False),
    Column("champion_confidence", Float),
    Column("candidate_confidence", Float),
    Column("champion_seconds", Float, nullable=False),
    Column("candidate_seconds", Float, nullable=False),
)

spools = Table(
    "spools",
    meta,
    Column("name", String, primary_key=True),
    Column("replayed", BigInteger, nullable=False),  # bytes of the file that are in `calls`
)

settings = Table("settings", meta, Column("name", String, primary_key=True), Column("value", String, nullable=False))
