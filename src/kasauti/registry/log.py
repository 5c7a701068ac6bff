"""The registry's log: one file an event, written once, never changed; each names the hash of the one before.

Walks in: events. Walks out: events, and what they come to. The log is all that decides: a version that it does not
name is not there, whatever lies on the disk, and a change of champion is the creation of one file.

    log/00000001.json, log/00000002.json, …

Two commands that append at once ask for the same name, and the store gives it to one of them; the other reads again and
is judged against the new standing. A kill leaves an event whole or not there.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from kasauti.core.errors import KasautiError, UsageError
from kasauti.registry.standing import Event, Standing, after
from kasauti.registry.store import Store

FORMAT = 1
FOLDER = "log"
TRIES = 20
"""Commands that may be first, one after the other, before an append gives up."""
_NAME = re.compile(r"^(\d{8})\.json$")


class Log:
    """The log of a store, read once and then only where it has grown.

    Args:
        store: where it lies.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events: list[Event] = []
        self._standing = Standing()
        self._head = ""  # hash of the last event read
        self._reading = threading.Lock()  # a service follows the log in one thread and shows it in another

    def read(self) -> Standing:
        """Where things stand now.

        Raises:
            KasautiError: an event is missing, was changed, or does not fit.
            StorageError: the store cannot be read.
        """
        with self._reading:
            return self._read()

    def _read(self) -> Standing:
        numbers = sorted(int(found[1]) for name in self._store.names(FOLDER) if (found := _NAME.match(name)))
        if numbers != list(range(1, len(numbers) + 1)) or len(numbers) < len(self._events):
            missing = min(set(range(1, max([*numbers, len(self._events)]) + 1)) - set(numbers))
            raise self._broken(missing, "is missing")
        for number in numbers[len(self._events) :]:
            self._take(number, self._store.read(_path(number)))
        return self._standing

    @property
    def events(self) -> tuple[Event, ...]:
        """What `read` has read, the oldest first."""
        return tuple(self._events)

    def append(self, make: Callable[[Standing], Event | None]) -> Standing:
        """Put one event behind the last.

        Args:
            make: the event for the standing as it is; called again where another command was first. None appends
                nothing.

        Raises:
            UsageError: the event does not fit, or other commands were first too often.
            StorageError: the store cannot be written.
        """
        for _ in range(TRIES):
            standing = self.read()
            event = make(standing)
            if event is None:
                return standing
            event = replace(event, at=datetime.now(UTC).isoformat(timespec="milliseconds"))
            after(standing, event)  # refused here, before it is written
            try:
                self._create(event, standing)
            except FileExistsError:
                continue
            return self.read()
        raise UsageError("other commands change the registry all the time", where=self._store.url, mend="Try again.")

    def _create(self, event: Event, standing: Standing) -> None:
        """Raises `FileExistsError` where something was appended since `standing` was read."""
        with self._reading:
            if self._standing is not standing:
                raise FileExistsError
            number = len(self._events) + 1
            self._store.create(_path(number), _text(event, number, self._head))

    def _take(self, number: int, content: bytes) -> None:
        try:
            found: dict[str, Any] = json.loads(content)
            before = found.pop("after")
            if found.pop("format") != FORMAT or found.pop("number") != number:
                raise ValueError("its format or number is another")
            event = Event(**found)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._broken(number, f"is no event ({error})") from None
        if before != self._head:
            raise self._broken(number, "does not follow the one before it: one of them was changed")
        try:
            self._standing = after(self._standing, event)
        except (UsageError, KeyError) as error:
            raise self._broken(number, f"cannot have happened ({error})") from None
        self._events.append(event)
        self._head = hashlib.sha256(content).hexdigest()

    def _broken(self, number: int, what: str) -> KasautiError:
        mend = "Restore that file from a copy: events are never changed or removed."
        return KasautiError(f"event {number} of the registry {what}", where=self._store.place(_path(number)), mend=mend)


def _path(number: int) -> str:
    return f"{FOLDER}/{number:08d}.json"


def _text(event: Event, number: int, head: str) -> bytes:
    document = {"format": FORMAT, "number": number, "after": head, **asdict(event)}
    return (json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def this_user() -> str:
    """Who runs this command, as far as the system says: `name@machine`."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container without that user
        name = "unknown"
    return f"{name}@{socket.gethostname()}"
