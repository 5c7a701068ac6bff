"""Files below one fsspec URL, with the only two guarantees that the registry stands on.

Walks in: a URL (a folder, `file://`, `memory://`, `s3://`, `gs://`, …), bytes, folders. Walks out: the same, whole. It
does not know what the files mean.

    create   a name gets its content at once and only if nobody has it: on a disk by a hard link from a finished file,
             on an object store by its conditional write (S3 `If-None-Match`, GCS generation 0, Azure no overwrite),
             which fsspec calls mode `create`
    listing  a name that was created is in the next listing

There is no rename, no append and no lock here, because object stores have none. A store whose driver knows no
conditional write (the driver's own documentation says) is read back after every `create`, and is for one writer at a
time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kasauti.core.errors import KasautiError, StorageError, UsageError
from kasauti.core.files import atomic_write, make_folder, storage_errors, sync_file, sync_folder


class Store:
    """What lies below a URL.

    Args:
        url: a path, or anything that fsspec opens.

    Raises:
        UsageError: no such protocol, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.url = url
        try:
            fs, root = url_to_fs(url)
        except (ValueError, ImportError) as error:
            mend = "Give a folder or an fsspec URL, and install the driver of its protocol (s3fs, gcsfs, adlfs, …)."
            raise UsageError(f"cannot be opened: {error}", where=url, mend=mend) from error
        self._fs: Any = fs
        self._root = str(root).rstrip("/")
        self.local = Path(self._root) if "file" in _protocols(fs) else None
        """The folder on this machine; None where it is elsewhere."""

    def place(self, path: str) -> str:
        """A path below the URL, as people are shown it."""
        return str(self.local / path) if self.local else f"{self.url.rstrip('/')}/{path}"

    def names(self, folder: str) -> list[str]:
        """Names of what lies in a folder, sorted, as the store has them now; empty where there is no folder."""
        if self.local:
            path = self.local / folder
            return sorted(os.listdir(path)) if path.is_dir() else []
        with self._errors(folder):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._at(folder), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(str(name).rstrip("/").rpartition("/")[2] for name in found)

    def read(self, path: str) -> bytes:
        """The content of a file. Raises `StorageError`."""
        with self._errors(path):
            return bytes(self._fs.cat_file(self._at(path)))

    def create(self, path: str, content: bytes) -> None:
        """Give a new name its content.

        Raises:
            FileExistsError: the name is taken; what is there stays.
            StorageError: it cannot be written.
        """
        if self.local:
            atomic_write(self.local / path, content, overwrite=False)
            return
        with self._errors(path):
            try:
                self._fs.pipe_file(self._at(path), content, mode="create")
            except Exception as error:  # each driver has its own kind
                if isinstance(error, FileExistsError) or _refused(error):
                    raise _Taken from None
                raise
            taken = bytes(self._fs.cat_file(self._at(path))) != content
        if taken:  # a driver that overwrites: somebody else was the last
            raise FileExistsError(self.place(path))

    def put_folder(self, source: Path, path: str) -> None:
        """A finished folder of this machine under a new name.

        On a disk `source` must lie below the same root, and is renamed: whole or not there. Elsewhere its files are
        sent one by one, and the name counts only for who knows that all of them arrived.
        """
        if self.local:
            with storage_errors(self.local / path):
                make_folder((self.local / path).parent)
                source.rename(self.local / path)
                sync_folder((self.local / path).parent)
            return
        for file in sorted(source.rglob("*")):
            if file.is_file():
                name = f"{path}/{file.relative_to(source).as_posix()}"
                with self._errors(name):
                    self._fs.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)
                    self._fs.put_file(str(file), self._at(name))

    def get_folder(self, path: str, target: Path) -> None:
        """A folder of the store, as a new folder of this machine. Raises `StorageError`."""
        with self._errors(path):
            base = self._at(path)
            found = [str(name) for name in self._fs.find(base)]
            for name in found:
                own = target / name.removeprefix(base).lstrip("/")
                make_folder(own.parent)
                self._fs.get_file(name, str(own))

    def delete_folder(self, path: str) -> None:
        """Remove a folder and all that lies in it; one that is gone already is no fault."""
        if self.local:
            shutil.rmtree(self.local / path, ignore_errors=True)
            return
        with self._errors(path), contextlib.suppress(FileNotFoundError):
            self._fs.invalidate_cache()
            self._fs.rm(self._at(path), recursive=True)

    @contextlib.contextmanager
    def workshop(self) -> Iterator[Path]:
        """A new folder of this machine to make something in that `put_folder` takes; gone at the end."""
        with storage_errors(self.local or tempfile.gettempdir()):
            if self.local:
                make_folder(self.local)
            path = Path(tempfile.mkdtemp(prefix=".new-", dir=self.local))
            path.chmod(0o755)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Any driver's error as one line; each driver has its own kinds."""
        try:
            yield
        except (KasautiError, FileNotFoundError):
            raise
        except _Taken:
            raise FileExistsError(self.place(path)) from None
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            mend = "Check the address, the network and the credentials."
            raise StorageError(lines[0][:300], where=self.place(path), mend=mend) from error


class _Taken(Exception):
    """The name is taken."""


def _refused(error: Exception) -> bool:
    """A conditional write that found the name taken, in the words of the drivers that have no kind of error for it."""
    return any(word in str(error) for word in ("PreconditionFailed", "pre-condition", "412", "BlobAlreadyExists"))


def _protocols(fs: Any) -> tuple[str, ...]:
    found = fs.protocol
    return (found,) if isinstance(found, str) else tuple(found)


def seal_files(folder: Path) -> None:
    """Every file of a folder read-only and on disk: a guard against accidents; the hash is the guard against the
    rest."""
    for path in folder.rglob("*"):
        if path.is_file():
            with contextlib.suppress(OSError):
                path.chmod(path.stat().st_mode & ~0o222)
                sync_file(path)
