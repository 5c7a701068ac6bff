"""Files: written whole or not at all, hashed by content, locked against a second command.

Walks in: paths, text, JSON values. Walks out: files that are complete, hashes, run folders that know whether they were
finished. It does not know what the files mean.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kasauti.core.errors import DataError, StorageError, UsageError

STATE = ".kasauti"
"""The folder beside `task.yaml` that holds everything Kasauti makes."""

_MENDS = {
    errno.ENOSPC: "Free some space on that disk and run the same command again.",
    errno.EDQUOT: "Free some of your quota on that disk and run the same command again.",
    errno.EACCES: "Give yourself write permission there, or choose another folder.",
    errno.EPERM: "Give yourself write permission there, or choose another folder.",
    errno.EROFS: "That disk is mounted read-only: choose a folder on another one.",
}


@contextlib.contextmanager
def storage_errors(path: str | Path) -> Iterator[None]:
    """Turn any `OSError` of the block into a one-line `StorageError` that names `path`."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        mend = _MENDS.get(error.errno or 0, "Check the path and the disk.")
        raise StorageError(f"cannot write: {reason}", where=str(path), mend=mend) from error


def make_folder(path: str | Path) -> Path:
    """Make a folder and its parents; one that is there already is kept. Raises `StorageError`."""
    with storage_errors(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


def atomic_write(path: str | Path, content: str | bytes, *, overwrite: bool = True) -> Path:
    """Write a file so that a reader sees the old content or the new one, never a part.

    Args:
        path: the file; its folder is made where it is missing.
        content: text is written as UTF-8 with the line ends it has.
        overwrite: with False a file that is there already is left as it is, and `FileExistsError` says so.

    Raises:
        StorageError: the disk is full or may not be written; nothing is left behind.
        FileExistsError: the file exists and `overwrite` is False.
    """
    path = Path(path)
    make_folder(path.parent)
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = ""
    try:
        with storage_errors(path):
            temporary = _write_beside(path, data)
            if overwrite:
                os.replace(temporary, path)
                temporary = ""
            elif not _link(temporary, path):
                raise _Taken
            sync_folder(path.parent)
    except _Taken:
        raise FileExistsError(str(path)) from None
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return path


class _Taken(Exception):
    """The name is taken; not an OSError, so that it is not told as a fault of the disk."""


def _write_beside(path: Path, data: bytes) -> str:
    """Write to a new temporary file in the same folder (a rename is atomic only within one disk); its name."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode_for(path))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return temporary


def _mode_for(path: Path) -> int:
    """The permissions of the file that is replaced; for a new file, those that `open` would give."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _link(temporary: str, path: Path) -> bool:
    """Give the finished file its name unless the name is taken: link fails then, rename would not."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a disk without hard links
        if path.exists():
            return False
        os.replace(temporary, path)
    return True


def sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network disks refuse it
            os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str | Path, value: object) -> Path:
    """Write a JSON document, indented, in UTF-8, atomically. Raises `ValueError` for NaN, which is no JSON."""
    return atomic_write(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def append_line(path: str | Path, line: str) -> None:
    """Append one line durably; two processes may append at once, and a half line left by a kill is closed first.

    Raises:
        ValueError: `line` holds a line end.
        StorageError: the disk is full or may not be written.
    """
    if "\n" in line or "\r" in line:
        raise ValueError(f"one line expected, got {line!r}")
    make_folder(Path(path).parent)
    with storage_errors(path), open(path, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(line.encode("utf-8") + b"\n")
        file.flush()
        os.fsync(file.fileno())
        if not size:
            sync_folder(Path(path).parent)


def read_text(path: str | Path) -> str:
    """A file of UTF-8 text. Raises `DataError` in one line where it is missing, unreadable or not UTF-8."""
    try:
        return _read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", where=str(path), mend="Save it as UTF-8.") from error


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DataError(f"cannot be read: {reason}", where=str(path), mend="Check the path.") from error


def read_json(path: str | Path) -> Any:
    """A JSON document. Raises `DataError` that names the file and the line of the fault."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        mend = "It may have been edited or cut off: restore it, or delete it and run the command that made it again."
        raise DataError(f"is not valid JSON: {error.msg}", where=f"{path}:{error.lineno}", mend=mend) from error


def read_json_lines(path: str | Path) -> list[Any]:
    """The values of a file that `append_line` wrote; empty where there is no file.

    A line that a kill cut short is left out: whoever was writing it never said that it was done.
    """
    if not Path(path).exists():
        return []
    values = []
    for line in _read_bytes(path).split(b"\n"):
        with contextlib.suppress(ValueError):  # no JSON, or cut within a letter
            values.append(json.loads(line))
    return values


def content_hash(value: object) -> str:
    """sha256 (64 hexadecimal digits) of a JSON value in canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def file_hash(path: str | Path) -> str:
    """sha256 of a file's bytes. Raises `DataError` where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DataError(f"cannot be read: {reason}", where=str(path), mend="Check the path.") from error


def folder_hash(folder: str | Path) -> str:
    """sha256 over the names and contents of all files under a folder; times and permissions do not count."""
    folder = Path(folder)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return content_hash([[name, file_hash(folder / name)] for name in names])


class RunFolder:
    """A folder `.kasauti/<kind>/<id>` that is finished once its mark is there; the mark is written last.

    Args:
        task_folder: the folder of `task.yaml`.
        kind: what it holds, such as `runs` or `trials`.
        id: its name there.
        mark: the file whose presence means that all the others are complete.
    """

    def __init__(self, task_folder: str | Path, kind: str, id: str, *, mark: str = "done.json") -> None:
        self.path = Path(task_folder) / STATE / kind / id
        self.mark = self.path / mark
        self.id = id

    @property
    def finished(self) -> bool:
        """Whether the mark is there."""
        return self.mark.is_file()

    def make(self) -> Self:
        """Make the folder; what an interrupted run left in it is kept, so that the run can go on."""
        make_folder(self.path)
        return self

    def finish(self, value: object) -> Path:
        """Write the mark, with `value` as its JSON. Call it after everything else is on disk."""
        return write_json(self.mark, value)

    def result(self) -> Any:
        """The JSON of the mark. Raises `DataError` where the run was not finished."""
        return read_json(self.mark)

    @classmethod
    def all(cls, task_folder: str | Path, kind: str, *, mark: str = "done.json") -> list[Self]:
        """Every folder of a kind, finished or not, in order of their names."""
        parent = Path(task_folder) / STATE / kind
        if not parent.is_dir():
            return []
        return [cls(task_folder, kind, path.name, mark=mark) for path in sorted(parent.iterdir()) if path.is_dir()]


class Lock:
    """One command at a time on a task; the system frees it when the process ends, however it ends.

    Use it as a context manager. The file stays; only the lock on it counts.

    Args:
        path: the lock file, for instance `.kasauti/lock`.
        what: what is locked, for the error message.
    """

    def __init__(self, path: str | Path, what: str = "this task") -> None:
        self.path = Path(path)
        self.what = what
        self._handle: int | None = None

    def __enter__(self) -> Self:
        make_folder(self.path.parent)
        with storage_errors(self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageError(f"cannot be locked: {error.strerror}", where=str(self.path)) from error
            raise UsageError(
                f"{self.what} is in use by another command (process {holder})",
                where=str(self.path),
                mend="Wait for it to end, or stop it, and run this command again.",
            ) from error
        with contextlib.suppress(OSError):  # a full disk has no room for the number; the lock itself holds
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
