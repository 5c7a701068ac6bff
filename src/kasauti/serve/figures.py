"""What a service counts, in the Prometheus format.

Walks in: requests, batches, answers. Walks out: the text of `/metrics`. It does not know what any of it means.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SLO = 2.0
"""Seconds under which 95% of the answers shall come; an edge of the buckets, so that the figure at it is exact."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, SLO, 3.0, 5.0, 10.0, 30.0)
COMMITS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, SLO, 5.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Figures:
    """The figures of one service; two services of one process do not mix."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.requests = Counter("kasauti_requests_total", "Requests", ("path", "status"), registry=own)
        self.seconds = Histogram(
            "kasauti_request_seconds", "Seconds of a request", ("path",), registry=own, buckets=BUCKETS
        )
        self.answers = Counter("kasauti_answers_total", "Answers", ("category", "accepted", "version"), registry=own)
        self.batch_rows = Histogram("kasauti_batch_rows", "Rows of a batch", registry=own, buckets=ROWS)
        self.batch_seconds = Histogram("kasauti_batch_seconds", "Seconds of a batch", registry=own, buckets=BUCKETS)
        self.calls = Counter("kasauti_calls_total", "Calls by how they were kept", ("kept",), registry=own)
        self.shadows = Counter("kasauti_shadows_total", "Calls for the other version", ("outcome",), registry=own)
        self.commit_rows = Histogram("kasauti_commit_calls", "Calls of a commit", registry=own, buckets=ROWS)
        self.commit_seconds = Histogram(
            "kasauti_commit_seconds", "Seconds of a commit of calls", registry=own, buckets=COMMITS
        )
        self.call_log = Gauge("kasauti_call_log_up", "Whether the database of the calls is there", registry=own)
        self.spooled = Gauge("kasauti_spooled_bytes", "Calls that wait for the database, in bytes", registry=own)
        self.waiting = Gauge("kasauti_waiting_rows", "Rows in the queue", registry=own)
        self.version = Gauge("kasauti_version", "The version that answers", registry=own)

    def batch(self, rows: int, seconds: float, waiting: int) -> None:
        """A batch was answered."""
        self.batch_rows.observe(rows)
        self.batch_seconds.observe(seconds)
        self.waiting.set(waiting)

    def commit(self, calls: int, seconds: float, waiting: int) -> None:
        """A batch of calls was kept, or refused."""
        self.commit_rows.observe(calls)
        self.commit_seconds.observe(seconds)

    def text(self) -> bytes:
        """All of it."""
        return bytes(generate_latest(self.registry))
