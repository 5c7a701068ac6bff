"""What reviewers decided, one review a call.

Walks in: a call log. Walks out: `Review`s. It does not know who reads calls, or which are handed out.
"""

from __future__ import annotations

from datetime import datetime

from kasauti.calls.log import CallLog
from kasauti.calls.reviews import Reviews
from kasauti.watch.seen import Review

RANDOM = "random"
"""`reason` of a review whose call was drawn at random; only these say what the accuracy of all calls is."""


def reviews_of(
    log: CallLog, since: datetime | None = None, until: datetime | None = None, version: int | None = None
) -> list[Review]:
    """Decided reviews of calls that were answered from `since` on and before `until`, in order of the calls' times.

    Where a second reviewer has decided too, the second decision is the one that counts. A call that has expired since
    is still judged: what it was answered is kept with the decision.

    Raises:
        StorageError: the database cannot be reached.
    """
    last: dict[str, tuple[int, Review]] = {}
    drawn: set[str] = set()
    for one in Reviews(log).decisions(since):
        if one.answered is None or one.version is None or one.called is None:
            continue
        inside = (since is None or one.called >= since) and (until is None or one.called < until)
        if not inside or version not in (None, one.version):
            continue
        drawn |= {one.call_id} if one.reason == RANDOM else set()
        made = Review(
            call=one.call_id,
            at=one.called,
            version=one.version,
            answered=one.answered,
            label=one.label,
            sampled=one.call_id in drawn,
        )
        if one.call_id not in last or one.round >= last[one.call_id][0]:
            last[one.call_id] = (one.round, made)
    return sorted((made for _, made in last.values()), key=lambda one: (one.at, one.call))
