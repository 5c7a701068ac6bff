"""Who may ask what: keys with roles.

Walks in: a file of keys, the key of a request. Walks out: whose it is. It does not know HTTP.

The file holds names, roles and sha256 hashes, never a key: a key is shown once, when it is made. Keys are 32 random
bytes, so a plain hash is enough (there is nothing to guess), and a key is compared with every hash in constant time,
whichever of them fits.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kasauti.core.errors import UsageError
from kasauti.core.files import read_json, write_json
from kasauti.core.names import suggestion

PREFIX = "kst_"


class Role(enum.IntEnum):
    """What a key's bearer may do; each may do what those before it may."""

    CALLER = 1
    """Ask questions."""
    REVIEWER = 2
    """Read which versions there are and how they were judged, and review answers."""
    OPERATOR = 3
    """Read the service's figures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One line of the file."""

    name: str
    role: Role
    sha256: str
    per_minute: float | None = None
    """Requests a minute; None for what the service gives everybody."""


class Keys:
    """The keys of a file.

    Args:
        path: the file; one that is not there holds no key.

    Raises:
        DataError, UsageError: it is not such a file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.all: tuple[Key, ...] = ()
        if self.path.exists():
            try:
                self.all = tuple(_key(entry) for entry in read_json(self.path)["keys"])
            except (KeyError, TypeError, ValueError) as error:
                mend = "Make keys with `kasauti keys`."
                raise UsageError(f"is no file of keys: {error}", where=str(path), mend=mend) from None

    def whose(self, given: str) -> Key | None:
        """The key that was given; None where there is no such key. Every hash is compared, in constant time."""
        digest, found = _digest(given), None
        for key in self.all:
            if hmac.compare_digest(key.sha256.encode(), digest.encode()):
                found = key
        return found

    def add(self, name: str, role: str, per_minute: float | None = None) -> str:
        """Make a key, write the file, and give the key, which is not kept.

        Raises:
            UsageError: the name is taken, or there is no such role.
        """
        roles = [one.name.lower() for one in Role]
        if role not in roles:
            raise UsageError(f"there is no role {role!r}", where="--role", mend=suggestion(role, roles))
        if not name.strip() or any(key.name == name for key in self.all):
            raise UsageError(f"the name {name!r} is taken or empty", mend="Choose another, or remove that key first.")
        made = PREFIX + secrets.token_urlsafe(32)
        key = Key(name=name, role=Role[role.upper()], sha256=_digest(made), per_minute=per_minute)
        self._write((*self.all, key))
        return made

    def remove(self, name: str) -> None:
        """Take a key away. Raises `UsageError` where there is none of that name."""
        if all(key.name != name for key in self.all):
            names = [key.name for key in self.all]
            raise UsageError(f"there is no key {name!r}", where=str(self.path), mend=suggestion(name, names))
        self._write(tuple(key for key in self.all if key.name != name))

    def _write(self, keys: Sequence[Key]) -> None:
        write_json(self.path, {"keys": [{**asdict(key), "role": key.role.name.lower()} for key in keys]})
        self.path.chmod(0o600)
        self.all = tuple(keys)


def _key(entry: dict[str, object]) -> Key:
    sha256, name = entry["sha256"], entry["name"]
    if not isinstance(sha256, str) or len(sha256) != 64 or not isinstance(name, str):
        raise ValueError("a key has a name and a sha256")
    rate = entry.get("per_minute")
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0):
        raise ValueError(f"per_minute is {rate!r}")
    return Key(name=name, role=Role[str(entry["role"]).upper()], sha256=sha256, per_minute=rate)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
