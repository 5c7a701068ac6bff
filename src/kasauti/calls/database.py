"""The database that holds the calls: SQLite in a file of its own, or PostgreSQL.

Walks in: a path or a URL. Walks out: connections within a transaction, for writing or for reading, at the newest step
of the schema; whatever keeps them from working is one `StorageError`. It does not know what is in the tables.

SQLite: write-ahead log, every commit on the disk before it returns (`synchronous=FULL`; NORMAL can lose the last ones
when the power goes), deleted text overwritten (`secure_delete`). PostgreSQL: `synchronous_commit=on` whatever the
server's default, and time-outs at every place where a dead network would keep a writer waiting.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url, text

from kasauti.calls.steps import STEPS, bring_up
from kasauti.core.errors import StorageError, UsageError
from kasauti.core.files import make_folder, storage_errors

BUSY_SECONDS = 3.0
"""How long a commit waits for another writer of the same SQLite file, or for a connection to PostgreSQL."""
WRITE_MS = 5_000
"""Milliseconds that a statement that writes may take in PostgreSQL."""
READ_MS = 120_000
READ_PATIENCE = 30.0
"""How much longer than a transaction that writes one that reads may be silent."""

_MEND = "Start the database, or give another with KASAUTI_DATABASE_URL or --calls."
_SENT_BACK = (exc.DataError, exc.IntegrityError)
"""Faults of what was written, not of the database."""


def url_of(given: str) -> URL:
    """A path, `sqlite:///path` or `postgresql://user@host/name` as a URL with our driver.

    Raises:
        UsageError: another database, or no URL.
    """
    if "://" not in given:
        return URL.create("sqlite", database=str(Path(given).absolute()))
    try:
        url = make_url(given)
    except (exc.ArgumentError, ValueError):
        raise UsageError("the database URL cannot be read", mend=_examples()) from None
    name = url.get_backend_name()
    if name == "postgres":
        name = "postgresql"
    if name not in ("sqlite", "postgresql"):
        raise UsageError(f"the call log is kept in SQLite or PostgreSQL, not in {name}", mend=_examples())
    if name == "sqlite" and not (url.database and url.database != ":memory:"):
        raise UsageError("a call log in memory would be lost", mend="Name a file: sqlite:///path/calls.db.")
    return url.set(drivername="postgresql+psycopg" if name == "postgresql" else "sqlite")


def _examples() -> str:
    return "Write a path, or postgresql://user:password@host/name."


class Database:
    """Connections to one database.

    Args:
        given: a path, or a URL.

    Raises:
        UsageError: see `url_of`; or the driver of PostgreSQL is not installed.
    """

    def __init__(self, given: str) -> None:
        self.url = url_of(given)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.file = Path(self.url.database or "").absolute() if self.sqlite else None
        self.where = str(self.file) if self.file else self.url.render_as_string(hide_password=True)
        self._ready: object = None
        self._once, self._watching = threading.Lock(), threading.Lock()
        self._open: dict[object, tuple[float, float, int]] = {}  # when a transaction began, its patience, its socket
        self._writer, self._reader = self._engine(writes=True), self._engine(writes=False)

    def _engine(self, *, writes: bool) -> Engine:
        if self.file is not None:
            engine = create_engine(
                self.url, pool_size=2 if writes else 4, hide_parameters=True, connect_args=_sqlite_arguments()
            )
            event.listen(engine, "connect", _pragmas(writes))
            event.listen(engine, "begin", _begin_immediate if writes else _begin)
            return engine
        milliseconds = WRITE_MS if writes else READ_MS
        try:
            return create_engine(
                self.url, pool_size=2 if writes else 4, pool_timeout=BUSY_SECONDS,
                hide_parameters=True,  # what callers sent is in them, and errors are logged
                connect_args=_postgres_arguments(self.url, milliseconds, writes),
            )  # fmt: skip
        except ModuleNotFoundError:
            mend = "Install it: pip install 'kasauti[postgres]'."
            raise UsageError("PostgreSQL needs the package psycopg", where=self.where, mend=mend) from None

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed, and on disk, when the block ends without an exception.

        Raises:
            StorageError: the database is not there, or did not commit. Whether a commit that lost its connection was
                done is not known: write again what has to be there once, with ids that conflict.
            UsageError: the database was made by a newer Kasauti.
        """
        with self._reaching():
            self._bring_up()
            with self._writer.connect() as connection, self._watched(connection, 1.0), connection.begin():
                yield connection
            if self.file is not None and self._file_id() != self._ready:
                self._ready = None
                self.forget()
                raise StorageError("the file was moved or replaced while it was written", where=self.where)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads; others write meanwhile. Raises as `write` does."""
        with self._reaching():
            self._bring_up()
            with self._reader.connect() as connection, self._watched(connection, READ_PATIENCE), connection.begin():
                yield connection

    def tidy(self) -> None:
        """After deleting: SQLite has overwritten it in the file, and the write-ahead log is emptied here; PostgreSQL
        frees the space for the next rows. Raises as `write` does."""
        with self._reaching():
            if self.sqlite:
                driver: Any = self._writer.raw_connection()
                with contextlib.closing(driver):
                    driver.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                return
            with self._writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for statement in ("SET statement_timeout = 0", "VACUUM calls, reviews", "RESET statement_timeout"):
                    connection.exec_driver_sql(statement)

    def hang_up(self, seconds: float) -> int:
        """End connections on which a transaction has been waiting for longer; it fails, and its block raises. Never
        waits.

        A server that is stopped but not gone, or a network that swallows everything, keeps a client waiting for ever:
        its own time-outs are the server's, and the kernel's see a live connection.

        Returns:
            How many there were.
        """
        ended = 0
        with self._watching:
            for began, patience, handle in self._open.values():
                if time.monotonic() - began > seconds * patience:
                    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(handle)) as end:
                        end.shutdown(socket.SHUT_RDWR)
                    ended += 1
        return ended

    @contextlib.contextmanager
    def _watched(self, connection: Connection, patience: float) -> Iterator[None]:
        """`hang_up` can end it; its descriptor is this connection's as long as the block runs."""
        if self.sqlite:
            yield
            return
        driver: Any = connection.connection.dbapi_connection
        try:
            handle = driver.pgconn.socket
        except Exception as error:  # one that its driver knows to be lost
            connection.invalidate()
            raise StorageError("the connection to the call log is lost", where=self.where, mend=_MEND) from error
        name = object()
        with self._watching:
            self._open[name] = (time.monotonic(), patience, handle)
        try:
            yield
        finally:
            with self._watching:
                del self._open[name]

    def forget(self) -> None:
        """Close what is open; it is opened again when it is needed."""
        self._writer.dispose()
        self._reader.dispose()

    def _bring_up(self) -> None:
        """The newest step, looked for once for every file or server that is met."""
        if self._ready is not None and (self.file is None or self._ready == self._file_id()):
            return
        with self._once:
            if self.file is not None:
                self.forget()  # connections to a file that is no longer there write into nothing
                _make(self.file)
            found = self._file_id() if self.file is not None else True
            if not self._is_new():
                with self._writer.connect() as connection, self._watched(connection, 10.0), connection.begin():
                    bring_up(connection)
            self._ready = found

    def _is_new(self) -> bool:
        """Whether nothing is left to do, found without a lock."""
        with (
            contextlib.suppress(exc.ProgrammingError, exc.OperationalError if self.sqlite else exc.ProgrammingError),
            self._reader.connect() as connection,
            self._watched(connection, 1.0),
        ):  # where there is no such table
            return bool(connection.execute(text("SELECT max(step) FROM steps")).scalar_one() == len(STEPS))
        return False

    def _file_id(self) -> object:
        try:
            found = os.stat(self.file or "")
        except OSError:
            return None
        return (found.st_dev, found.st_ino)

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except _SENT_BACK:
            raise
        except (exc.DBAPIError, exc.TimeoutError, sqlite3.Error) as error:  # the last while a connection is prepared
            self._ready = None
            self.forget()  # others of its connections are hardly better
            cause = getattr(error, "orig", None) or error
            lines = str(cause).strip().splitlines()
            reason = lines[0][:200] if lines else type(cause).__name__
            raise StorageError(f"the call log cannot be reached: {reason}", where=self.where, mend=_MEND) from error


def _make(file: Path) -> None:
    """An empty file that only its owner may read; SQLite's other files take its permissions. One that is there is not
    even opened: closing it would take away the locks that this process has on it (POSIX)."""
    make_folder(file.parent)
    with storage_errors(file), contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _sqlite_arguments() -> dict[str, Any]:
    return {"timeout": BUSY_SECONDS, "check_same_thread": False, "isolation_level": None}


def _postgres_arguments(url: URL, milliseconds: int, writes: bool) -> dict[str, Any]:
    given = url.query.get("options", "")
    options = given if isinstance(given, str) else " ".join(given)  # such as a search path of the operator's
    options += f" -c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout=300000"
    options += " -c synchronous_commit=on" if writes else " -c default_transaction_read_only=on"
    return {
        "connect_timeout": max(2, round(BUSY_SECONDS)),
        "application_name": "kasauti",
        "options": options.strip(),
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": WRITE_MS,
    }


def _pragmas(writes: bool) -> Any:
    def set_them(connection: sqlite3.Connection, record: object) -> None:
        if writes:
            _ahead(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON" if writes else "PRAGMA query_only=ON")
        connection.execute("PRAGMA cache_size=-32768")

    return set_them


def _ahead(connection: sqlite3.Connection) -> None:
    """The write-ahead log; two services that make one file at once do not wait for each other here by themselves."""
    limit = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.02)


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    """The lock is taken at once: a transaction that begins to read and then writes can fail where it cannot wait."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
