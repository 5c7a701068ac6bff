"""How much one caller may ask for: requests a minute, and bytes of a body.

Walks in: a caller's name and the time; the chunks of a body. Walks out: whether there is room, or the body. It does not
know keys.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

CALLERS = 10_000
"""Callers that are remembered; beyond them the one that was silent longest is forgotten, and starts anew."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Rate:
    """A token bucket a caller: `per_minute` requests on average, and as many at once as ten seconds' worth.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, caller: str, per_minute: float) -> float:
        """Count a request: 0 where there is room, else the seconds until there is; then it is not counted."""
        now, burst = self._clock(), max(1.0, per_minute / 6)
        bucket = self._buckets.pop(caller, None) or _Bucket(burst, now)
        bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * per_minute / 60)
        bucket.at = now
        self._buckets[caller] = bucket
        if len(self._buckets) > CALLERS:
            self._buckets.popitem(last=False)
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0.0
        return (1 - bucket.tokens) * 60 / per_minute


class TooLarge(Exception):
    """The body has more bytes than are read."""


class TooSlow(Exception):
    """The body did not arrive in time."""


READ_ON = 16
"""A body is read, and thrown away, up to so many times what is allowed before its sender is cut off."""


async def read_body(stream: AsyncIterator[bytes], length: str | None, most: int, seconds: float) -> bytes:
    """A whole body, of which never more than `most` bytes are held.

    Args:
        length: what the Content-Length header says; None without one.
        seconds: for all of it.

    Raises:
        TooLarge, TooSlow: as they say.
    """
    too_large = length is not None and length.isdecimal() and int(length) > most
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in stream:
                size += len(part)
                too_large = too_large or size > most
                if too_large:  # who is cut off while still sending sees a broken pipe, and not what was wrong
                    parts.clear()
                    if size > READ_ON * most:
                        break
                else:
                    parts.append(part)
    except TimeoutError:
        if not too_large:
            raise TooSlow from None
    if too_large:
        raise TooLarge
    return b"".join(parts)
