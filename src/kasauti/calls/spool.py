"""Where calls wait on the disk while the database is away: files that only grow, each synced before an answer leaves.

Walks in: `Call`s. Walks out: the same calls in the database, each once, when it is back. It does not know why it is
away.

A file is written by one process, which holds a lock on it; the lock goes with the process, so what a killed one left
is replayed by the next. How far a file has been replayed stands in the database, in the transaction that writes its
calls: a kill between that and the file's removal repeats nothing, not even calls that were erased meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import Connection, exc, select
from sqlalchemy.dialects import postgresql, sqlite

from kasauti.calls.log import CallLog
from kasauti.calls.rows import from_row, to_row
from kasauti.calls.schema import spools
from kasauti.core.call import Call
from kasauti.core.errors import StorageError
from kasauti.core.files import make_folder, storage_errors, sync_folder

SUFFIX = ".calls"
DAMAGED = ".damaged"
FILE_BYTES = 8 * 2**20
"""A file of this size is closed and another begun, so that what is replayed can be removed piece by piece."""
BATCH = 200
"""Calls of a replayed transaction."""
_SENT_BACK = (exc.DataError, exc.IntegrityError)


class Spool:
    """The files of one folder.

    Args:
        folder: made when it is needed.
        limit: bytes that may wait; more calls are refused.
    """

    def __init__(self, folder: str | Path, limit: int = 2**30) -> None:
        self.folder, self.limit = Path(folder), limit
        self._lock = threading.Lock()
        self._file: tuple[int, Path, int] | None = None  # descriptor, path, bytes that are whole

    def append(self, batch: Sequence[Call]) -> None:
        """Write calls, all or none; on disk when it returns.

        Raises:
            StorageError: the disk is full or may not be written, or the spool has reached its limit.
        """
        data = b"".join(map(_line, batch))
        if self.waiting_bytes() + len(data) > self.limit:
            mend = "Bring the database back, or allow more with --spool-bytes."
            raise StorageError(f"{self.limit:,} bytes of calls wait already", where=str(self.folder), mend=mend)
        with self._lock, storage_errors(self.folder):
            handle, path, size = self._file or self._begin()
            try:
                if os.write(handle, data) != len(data):
                    raise OSError(28, "No space left on device")
                os.fsync(handle)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)  # half a batch must not stand before the next
                self._close()
                raise
            self._file = (handle, path, size + len(data))
            if size + len(data) >= FILE_BYTES:
                self._close()

    def waiting_bytes(self) -> int:
        """Bytes of all files, those of other processes too."""
        total = 0
        for path in self._files():
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    def in_use(self) -> bool:
        """Whether another process is writing here."""
        for path in self._files():
            handle = _take(path)
            if handle is None:
                return path.exists()
            os.close(handle)
        return False

    def replay(self, log: CallLog) -> int:
        """Bring what waits into the database, but for files that another process is writing.

        Returns:
            Calls that were new there.

        Raises:
            StorageError: the database is away (again); what was brought is not brought twice.
        """
        with self._lock:
            self._close()
        brought = 0
        for path in self._files():
            handle = _take(path)
            if handle is None:
                continue
            try:
                brought += _replay_file(log, path)
            finally:
                os.close(handle)
        return brought

    def close(self) -> None:
        """Leave the file to whoever replays it."""
        with self._lock:
            self._close()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else []

    def _begin(self) -> tuple[int, Path, int]:
        make_folder(self.folder)
        path = self.folder / f"{time.time_ns():020d}-{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not os.fstat(handle).st_nlink:  # another process took it for one that was left, before we had the lock
            os.close(handle)
            return self._begin()
        sync_folder(self.folder)
        return handle, path, 0

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file[0])
            self._file = None


def _line(call: Call) -> bytes:
    text = json.dumps(to_row(call)).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _call(line: bytes) -> Call | None:
    """The call of a line; None where a kill or a fault of the disk left less than it."""
    sum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or sum != b"%08x" % zlib.crc32(text):
        return None
    return from_row(json.loads(text))


def _take(path: Path) -> int | None:
    """A descriptor with the lock on a file; None where somebody else has it, or has removed the file."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def _replay_file(log: CallLog, path: Path) -> int:
    with log.database.read() as connection:
        done = connection.execute(select(spools.c.replayed).where(spools.c.name == path.name)).scalar_one_or_none()
    brought, damaged = 0, False
    for lines, end, broken in _batches(path, done or 0):
        damaged = damaged or broken
        try:
            brought += _write(log, path.name, [call for call, _ in lines], end)
        except _SENT_BACK:  # one of them; the others shall not wait for it
            for call, behind in lines:
                try:
                    brought += _write(log, path.name, [call], behind)
                except _SENT_BACK:
                    damaged = True
    if damaged:  # never silently: the lines that can be read are in the database, and the file stays for a person
        path.rename(path.with_suffix(DAMAGED))
    else:
        path.unlink()
    sync_folder(path.parent)
    return brought


def _write(log: CallLog, name: str, batch: Sequence[Call], end: int) -> int:
    with log.database.write() as connection:
        new = log.append_within(connection, batch)
        _mark(connection, name, end)
    return new


def _batches(path: Path, done: int) -> Iterator[tuple[list[tuple[Call, int]], int, bool]]:
    """Calls with the place behind each, the place behind all, and whether a line among them was broken. The last line
    may be cut off: the process that wrote it was killed before anybody had its answer."""
    with open(path, "rb") as file:
        file.seek(done)
        batch: list[tuple[Call, int]] = []
        broken = False
        while line := file.readline():
            call = _call(line)
            if call is not None:
                batch.append((call, file.tell()))
            elif file.peek(1):
                broken = True
            if len(batch) == BATCH:
                yield batch, file.tell(), broken
                batch, broken = [], False
        if batch or broken:
            yield batch, file.tell(), broken


def _mark(connection: Connection, name: str, end: int) -> None:
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    new = insert(spools).values(name=name, replayed=end)
    connection.execute(new.on_conflict_do_update(index_elements=["name"], set_={"replayed": new.excluded.replayed}))
