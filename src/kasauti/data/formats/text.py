"""The text of a file, line by line: unpacked, its encoding found out, every fault with its line.

Walks in: the path of a text file, plain or gzipped. Walks out: numbered lines. It does not know what they hold. No more
than one line, and the look ahead at the first one that is not UTF-8, is ever in memory.

Bytes are read as UTF-8, or as the UTF-16 that a byte-order mark announces. A file whose text outside ASCII is nowhere
UTF-8 is read as Windows-1252 (which holds all letters of Latin-1), and that is said. In a file that mixes the two, the
lines of the rarer kind are faults: guessing line by line would turn letters into others without a word.
"""

from __future__ import annotations

import codecs
import gzip
import io
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from kasauti.core.errors import DataError
from kasauti.data.formats.row import Say

LINE_LIMIT = 64 * 2**20
"""Bytes of a line; what is longer is a fault, so that a file without line ends cannot fill the memory."""
PART = 2**18
"""Bytes of a part of a line, where lines mean nothing (a JSON list may be one line)."""
_AHEAD = 2**20
"""Bytes to look at before a file is taken for Windows-1252."""
_REPLACED = "\ufffd"


class Line(NamedTuple):
    """A line, or a part of one."""

    number: int
    """From 1."""
    text: str
    """With its line end; what could not be read in it is U+FFFD."""
    fault: DataError | None = None
    """What is wrong with it; the text is still right in all the rest."""


def lines(path: Path, say: Say) -> Iterator[Line]:
    """The lines of a file."""
    cut = 0
    for line in _decoded(path, say, LINE_LIMIT):
        if line.number == cut:
            continue  # the rest of a line that was too long
        if not line.text.endswith("\n") and len(line.text.encode("utf-8", "replace")) > LINE_LIMIT - 4:
            cut = line.number
            fault = f"a line is longer than {LINE_LIMIT:,} bytes"
            line = Line(cut, "\n", DataError(fault, where=f"{path}:{cut}", mend="Check its quotes and line ends."))
        yield line


def parts(path: Path, say: Say) -> Iterator[Line]:
    """The same text in parts of at most `PART` bytes, each with the number of the line that it belongs to."""
    return _decoded(path, say, PART)


def _decoded(path: Path, say: Say, limit: int) -> Iterator[Line]:
    with _open(path) as packed:
        start = packed.peek(4)[:4]  # type: ignore[attr-defined]
        wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        file: IO[bytes] = io.BufferedReader(_Utf16(packed)) if wide else packed
        announced = "UTF-16" if wide else "UTF-8" if start.startswith(codecs.BOM_UTF8) else None
        decoder = _Decoder(path, say, _raw(file, limit), announced)
        yield from decoder.lines()


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _raw(file: IO[bytes], limit: int) -> Iterator[tuple[int, bytes]]:
    """Lines as bytes; a longer one in parts that cut no UTF-8 character in two."""
    number, kept = 1, b""
    while raw := file.readline(limit - len(kept)):
        raw = kept + raw
        ends, kept = raw.endswith(b"\n"), b""
        if not ends and len(raw) == limit:
            raw, kept = _whole(raw)
        if number == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        yield number, raw
        number += ends
    if kept:
        yield number, kept


def _whole(raw: bytes) -> tuple[bytes, bytes]:
    """The bytes up to the last whole UTF-8 character, and the beginning of the next one."""
    for back in range(1, 4):
        lead = raw[-back]
        if lead >= 0xC0:
            size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return (raw[:-back], raw[-back:]) if size > back else (raw, b"")
        if lead < 0x80:
            break
    return raw, b""


class _Utf16(io.RawIOBase):
    """UTF-16 as UTF-8. Half a character becomes bytes that are no UTF-8, so that its line is at fault, not the file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-16")("surrogatepass")
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            raw = self._file.read(PART)
            try:
                self._ready = self._decoder.decode(raw, not raw).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError:  # the file ends in the midst of a character
                self._ready = b"\xff"
                self._decoder.reset()
                raw = b"\xff"
            if not raw:
                return 0
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


class _Decoder:
    """Decides once what the encoding is, at the first line that tells.

    Args:
        raw: numbered lines.
        announced: the encoding that a mark at the beginning names; the lines are UTF-8 by now.
    """

    def __init__(self, path: Path, say: Say, raw: Iterator[tuple[int, bytes]], announced: str | None) -> None:
        self._path, self._say, self._raw = path, say, raw
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._name = announced or "UTF-8"
        self._encoding = "utf-8" if announced else None
        self._first_odd = 0

    def lines(self) -> Iterator[Line]:
        """Every line with its fault."""
        while True:
            number, raw = self._waiting.popleft() if self._waiting else next(self._raw, (0, b""))
            if not raw:
                return
            text, fault = self._decode(number, raw)
            if "\0" in text:
                text, fault = text.replace("\0", _REPLACED), fault or self._nul(number, raw)
            yield Line(number, text, fault)

    def _decode(self, number: int, raw: bytes) -> tuple[str, DataError | None]:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if self._encoding is None:
                self._encoding = "utf-8" if self._is_utf8(raw) else self._say_windows(number, raw)
            return self._not_utf8(number, raw, error)
        if self._encoding != "utf-8" and not raw.isascii():
            if self._encoding is None:
                self._encoding = "utf-8"
            else:
                fault = f"is UTF-8, and line {self._first_odd} is not: the file mixes encodings"
                return text, self._fault(number, fault, "Save the whole file as UTF-8.")
        return text, None

    def _is_utf8(self, raw: bytes) -> bool:
        """Whether this line and those that follow hold more characters that are UTF-8 than bytes that are not."""
        good, bad = _counted(raw)
        size = len(raw)
        for number, ahead in self._raw:
            self._waiting.append((number, ahead))
            size += len(ahead)
            more = (0, 0) if ahead.isascii() else _counted(ahead)
            good, bad = good + more[0], bad + more[1]
            if size > _AHEAD:
                break
        return good > bad

    def _say_windows(self, number: int, raw: bytes) -> str:
        self._first_odd = number
        shown = _near(raw, next(i for i, byte in enumerate(raw) if byte > 127), "cp1252")
        self._say(f"is not UTF-8 and was read as Windows-1252; the first such letters are {shown!r} in line {number}")
        return "cp1252"

    def _not_utf8(self, number: int, raw: bytes, error: UnicodeDecodeError) -> tuple[str, DataError | None]:
        if self._encoding == "cp1252":
            try:
                return raw.decode("cp1252"), None
            except UnicodeDecodeError as odd:
                fault = f"byte 0x{raw[odd.start]:02x} near {_near(raw, odd.start, 'cp1252')!r} is no letter"
                mend = "Save the file as UTF-8: its encoding is neither UTF-8 nor Windows-1252."
                return raw.decode("cp1252", "replace"), self._fault(number, fault, mend)
        mend = "Save the file as UTF-8 with the program that made it, or mend the row."
        return raw.decode("utf-8", "replace"), self._fault(
            number, f"is not {self._name} near {_near(raw, error.start, 'utf-8')!r}", mend
        )

    def _nul(self, number: int, raw: bytes) -> DataError:
        mend = "Export the file again, or remove them: tr -d '\\000' < old > new."
        if raw.count(b"\0") * 3 > len(raw):
            mend = "It may be UTF-16 without a mark: convert it with iconv -f UTF-16LE -t UTF-8."
        return self._fault(number, "there is a NUL byte", mend)

    def _fault(self, number: int, what: str, mend: str) -> DataError:
        return DataError(what, where=f"{self._path}:{number}", mend=mend)


def _counted(raw: bytes) -> tuple[int, int]:
    """Characters outside ASCII that are UTF-8, and places that are not."""
    text = raw.decode("utf-8", "replace")
    bad = text.count(_REPLACED)
    return sum(not character.isascii() for character in text) - bad, bad


def _near(raw: bytes, at: int, encoding: str) -> str:
    return raw[max(0, at - 12) : at + 8].decode(encoding, "replace").strip()
