"""Answered calls are kept before their answers leave: in the database, or by the operator's policy while it is away.

Walks in: `Answer`s, a batch at a time. Walks out: for each whether it is kept, and where. It does not know HTTP, or how
batches are gathered.

One thread keeps; another looks every second whether the database is there and brings what was spooled back; a third
one, which never waits for a database, ends connections that have been silent for too long.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from kasauti.calls.database import Database
from kasauti.calls.keep import expire
from kasauti.calls.log import CallLog
from kasauti.calls.record import Answer, Recorder, secret_of
from kasauti.calls.spool import Spool
from kasauti.core.errors import StorageError
from kasauti.core.files import atomic_write, make_folder, storage_errors

SECRET = "caller.key"
AT_ONCE = 1.0
"""Seconds within which a stale connection fails; what takes longer is another trouble, and is not tried again."""
EXPIRED_AT_ONCE = 2_000
"""Calls that one look deletes, so that what was spooled does not wait for a year of calls to be deleted."""


class Policy(enum.StrEnum):
    """What happens to calls while the database is away."""

    REFUSE = "refuse"
    """Nobody gets an answer: 503 until it is back."""
    SPOOL = "spool"
    """They wait on this machine's disk, and answers leave; brought into the database when it is back."""


class Kept(enum.StrEnum):
    """What became of the record of a call."""

    COMMITTED = "committed"
    """It is in the database."""
    SPOOLED = "spooled"
    """It is on this machine's disk, and will be in the database."""
    REFUSED = "refused"
    """It is nowhere for certain: its answer must not leave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """How the call log is."""

    up: bool
    """Whether the database took what was last written, or answered when it was last asked."""
    trouble: str = ""
    """Why not, one line."""
    since: float = 0.0
    """Seconds since 1970 at which it went away; 0 where it is there."""
    ready: bool = False
    """Whether a call can be kept: in the database, or by the policy."""
    waiting_bytes: int = 0
    """What waits in the spool."""


class Keeper:
    """Keeps the calls of one service.

    Args:
        where: path or URL of the database.
        instructions: the task's system turn.
        folder: for the spool and the key of the callers' hash.
        policy: what happens while the database is away.
        mask: replace personal data before anything is kept.
        days: after how many days calls are deleted; None keeps them.
        spool_bytes: how much may wait in the spool.

    Raises:
        UsageError: no URL of SQLite or PostgreSQL.
    """

    def __init__(
        self,
        where: str,
        instructions: str,
        folder: str | Path,
        *,
        policy: Policy = Policy.SPOOL,
        mask: bool = False,
        days: float | None = None,
        spool_bytes: int = 2**30,
    ) -> None:
        self.log = CallLog(Database(where))
        self.spool = Spool(folder, spool_bytes)
        self.policy = policy
        self._instructions, self._mask, self._days = instructions, mask, days
        self._recorder: Recorder | None = None
        self._state = State(up=False, trouble="the call log is being opened", since=time.time())
        self._committed = 0.0
        self._changing = threading.Lock()

    @property
    def state(self) -> State:
        """How it is now."""
        return self._state

    def open(self) -> None:
        """Reach the database for the first time; where it is away, the key of an earlier time will do.

        Raises:
            UsageError: the database was made by a newer Kasauti, or its callers were hashed with another key.
        """
        file = self.spool.folder / SECRET
        try:
            secret = secret_of(self.log.database)
        except StorageError as error:
            self._went(error)
            if self.policy is Policy.REFUSE or not file.is_file():
                return
            secret = bytes.fromhex(file.read_text("ascii"))
            if not secret:
                return
            self._recorder = Recorder(self._instructions, secret, mask=self._mask)
            self._became(up=False)
            return
        if self.policy is Policy.SPOOL:
            _keep_secret(file, secret)
        self._recorder = Recorder(self._instructions, secret, mask=self._mask)
        self._became(up=True)

    def keep(self, answers: Sequence[Answer]) -> list[Kept]:
        """Keep calls; on disk, or refused, when it returns. Called by one thread at a time."""
        if self._recorder is None:
            return [Kept.REFUSED] * len(answers)
        batch = [self._recorder.record(answer) for answer in answers]
        if self._state.up:
            began = time.monotonic()
            try:
                try:
                    self.log.append(batch)
                except StorageError:  # a connection that the server closed long ago says so when it is used
                    if self.log.database.sqlite or time.monotonic() - began > AT_ONCE:
                        raise
                    self.log.append(batch)
                self._committed = time.monotonic()
                return [Kept.COMMITTED] * len(batch)
            except StorageError as error:
                self._went(error)
        if self.policy is Policy.SPOOL:
            try:
                self.spool.append(batch)
            except StorageError as error:
                self._went(error)
            else:
                return [Kept.SPOOLED] * len(batch)
        return [Kept.REFUSED] * len(batch)

    def look(self) -> int:
        """Ask the database whether it is there; where it is, bring what was spooled and delete what is too old.

        Returns:
            Calls that were brought.

        Raises:
            UsageError: see `open`.
        """
        if self._recorder is None:
            self.open()
        try:
            if not self._state.up or time.monotonic() - self._committed > 1:  # else a batch has just shown it
                with self.log.database.write() as connection:
                    connection.execute(text("SELECT 1"))
            if self._recorder is None:
                return 0
            self._became(up=True)
            brought = self.spool.replay(self.log) if self.spool.waiting_bytes() else 0
            if self._days is not None:
                expire(self.log, self._days, most=EXPIRED_AT_ONCE)
        except StorageError as error:
            self._went(error)
            return 0
        self._became(up=True)
        return brought

    def close(self) -> None:
        """After the last call: bring what can be brought, and close."""
        if self._state.up and self.spool.waiting_bytes():
            self.look()
        self.spool.close()
        self.log.close()

    def _went(self, error: StorageError) -> None:
        with self._changing:
            since = self._state.since or time.time()
        self._became(up=False, trouble=error.line(), since=since)

    def _became(self, *, up: bool, trouble: str = "", since: float = 0.0) -> None:
        waiting = self.spool.waiting_bytes()
        spools = self.policy is Policy.SPOOL and waiting < self.spool.limit
        with self._changing:
            self._state = State(
                up=up,
                trouble="" if up else trouble or self._state.trouble,
                since=0.0 if up else since or self._state.since or time.time(),
                ready=self._recorder is not None and (up or spools),
                waiting_bytes=waiting,
            )


def _keep_secret(file: Path, secret: bytes) -> None:
    """For a start while the database is away."""
    if not file.is_file() or file.read_text("ascii") != secret.hex():
        make_folder(file.parent)
        with storage_errors(file):
            file.touch(0o600)  # whose permissions the whole file will have
        atomic_write(file, secret.hex())
