"""Malformed files through the command line: every row comes out, or one line says what is wrong; with --skip-bad
rows and bad rows add up to the rows that are there. What is there is counted without our reader.
"""

import gzip
import io
import json
import random
import zlib
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SEEDS = 3
TEXTS = ["refund not yet here", "कार्ड काम नहीं कर रहा", "parcel é late 😀", "money gone since monday"]
ROWS = [{"text": f"{TEXTS[n % 4]} {n}", "label": ("refund", "card")[n % 2]} for n in range(24)]


LISTED = ",\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)


def _delimited(delimiter: str) -> bytes:
    return "".join(f"{a}{delimiter}{b}\n" for a, b in [("text", "label"), *(r.values() for r in ROWS)]).encode()


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), out)
    return out.getvalue()


FORMATS: dict[str, bytes] = {
    "a.csv": _delimited(","),
    "a.tsv": _delimited("\t"),
    "a.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode(),
    "a.json": f"[\n{LISTED}\n]".encode(),
    "wrapped.json": f'{{"made": 2, "rows": [\n{LISTED}\n]}}\n'.encode(),
    "line.json": json.dumps(ROWS, ensure_ascii=False).encode(),
    "packed.csv.gz": gzip.compress(_delimited(","), mtime=0),
    "packed.jsonl.gz": gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode(), mtime=0),
    "a.parquet": _parquet(),
}


def _lines(change: Callable[[list[bytes], random.Random], None]) -> Callable[[bytes, random.Random], bytes]:
    def mutate(data: bytes, draw: random.Random) -> bytes:
        lines = data.split(b"\n")
        change(lines, draw)
        return b"\n".join(lines)

    return mutate


def _at(draw: random.Random, lines: list[bytes]) -> int:
    return draw.randrange(1, max(2, len(lines) - 2)) % len(lines)


def _put(text: bytes) -> Callable[[bytes, random.Random], bytes]:
    """Some bytes put in at a random place."""

    def mutate(data: bytes, draw: random.Random) -> bytes:
        at = draw.randrange(1, len(data))
        return data[:at] + text + data[at:]

    return mutate


def _row(text: str) -> Callable[[bytes, random.Random], bytes]:
    """A line put in at a random place, with a comma where the rows are a list."""

    def put(lines: list[bytes], draw: random.Random) -> None:
        comma = b"," if lines[0].endswith(b"[") else b""
        lines.insert(_at(draw, lines), text.encode() + comma)

    return _lines(put)


def _truncate(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(1, len(data))]


def _flip(data: bytes, draw: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(draw.choice((1, 1, 8))):
        made[draw.randrange(len(made))] ^= 1 << draw.randrange(8)
    return bytes(made)


def _drop(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + data[at + draw.randrange(1, 30) :]


def _recoded(encoding: str) -> Callable[[bytes, random.Random], bytes]:
    return lambda data, draw: data.decode("utf-8", "replace").encode(encoding, "replace")


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": _truncate,
    "bits flipped": _flip,
    "bytes lost": _drop,
    "NUL": _put(b"\0"),
    "no UTF-8": _put(b"\xe0\xa4"),
    "a Windows letter": _put(b"caf\xe9"),
    "a quote": _put(b'"'),
    "a line end": _put(b"\n"),
    "a carriage return": _put(b"\r"),
    "UTF-16": _recoded("utf-16"),
    "UTF-16 without a mark": _recoded("utf-16-le"),
    "UTF-16 cut": lambda data, draw: _recoded("utf-16")(data, draw)[: draw.randrange(40, 900)],
    "Windows-1252": _recoded("cp1252"),
    "nested": _row('{"text": ' + "[" * 20_000),
    "nested to the end": _row('{"text": ' + "[" * 3000 + "]" * 3000 + ', "label": "card"}'),
    "a huge value": _row("x" * (16 * 2**20 + 1) + ",card"),
    "a name twice": _row('{"text": "a", "text": "b", "label": "card"}'),
    "half a character": _row('{"text": "\\ud83d", "label": "card"}'),
    "another shape": _row('{"messages": [{"role": "user", "content": "hi"}]}'),
    "no object": _row('["text", "label"]'),
}


def _counted(name: str, data: bytes) -> int | None:
    """Rows that a file holds; None where that cannot be said, since it is no such file any more."""
    if name.endswith(".gz"):
        try:
            data, name = gzip.decompress(data), name.removesuffix(".gz")
        except (OSError, EOFError, ValueError, zlib.error):
            return None
    if name.endswith(".parquet"):
        try:
            return pq.read_table(io.BytesIO(data)).num_rows
        except (pa.ArrowException, OSError, UnicodeDecodeError):
            return None
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = data.decode("utf-16", "replace") if wide else data.decode("utf-8", "replace")
    if not name.endswith(".json"):
        lines = [line for line in text.split("\n") if line.strip("\r" if "csv" in name or "tsv" in name else None)]
        return len(lines) - (not name.endswith(".jsonl"))
    try:
        found = json.loads(text.replace("\0", "\ufffd"))
    except (ValueError, RecursionError):
        return None
    return len(found if isinstance(found, list) else found["rows"])


CASES = [(name, what) for name in FORMATS for what in MUTATIONS]


def _mutated(name: str, what: str, seed: int) -> bytes:
    draw = random.Random(f"{name} {what} {seed}")
    if name.endswith(".gz") and draw.random() < 0.7:  # inside the packing, else the packing itself
        return gzip.compress(MUTATIONS[what](gzip.decompress(FORMATS[name]), draw), 1, mtime=0)
    return MUTATIONS[what](FORMATS[name], draw)


def test_there_are_enough_of_them():
    assert len(CASES) * SEEDS >= 200


@pytest.mark.parametrize(("name", "what"), CASES)
def test_a_malformed_file_gives_all_its_rows_or_one_line(kasauti, tmp_path, name, what):
    for seed in range(1 if what == "a huge value" else SEEDS):
        data = _mutated(name, what, seed)
        path = tmp_path / name
        path.write_bytes(data)
        rows = _counted(name, data)
        for skip in (False, True):
            out = tmp_path / f"task{seed}{skip}"
            ran = kasauti("init", out, "--data", path, "--input", "text", "--target", "label", "--kind",
                          "generation", "--json", *(["--skip-bad"] if skip else []))  # fmt: skip
            assert "Traceback" not in ran.err
            if ran.code == 0:
                made = ran.document
                assert rows == made["rows"] + made["bad_rows"], (seed, skip)
                assert skip or made["bad_rows"] == 0
                assert not made["bad_rows"] or f"{made['bad_rows']} bad rows were left out" in str(made["reading"])
                assert (out / "task.yaml").is_file()
            else:
                assert ran.code == 2, (seed, ran)
                assert ran.error_line
                assert ran.document["error"]["mend"], (seed, ran)
                assert not out.exists()
