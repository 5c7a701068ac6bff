"""Where chunks are kept and found: an SQLite file, with BM25 by its full-text index and cosine by a matrix.

Walks in: chunks, their vectors where there are any. Walks out: the best chunks for terms, or for a vector. It does not
know documents' formats or models. `Store` is the face that `lance.LanceStore` has too.

SQLite and not a package of its own: it is there already, and one document's change is one transaction. Of 100,000
chunks of 40 words (46 MB), a question of 8 rare words is found in 5 ms of processor time, one of 12 words as common as
they are in running text in 80 ms. What it has not is a server: for an index that machines share, or a larger one,
`knowledge.store` names a LanceDB URI.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kasauti.core.errors import StorageError
from kasauti.core.files import make_folder
from kasauti.data.knowledge.chunks import Chunk, terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (source TEXT PRIMARY KEY, sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, heading TEXT NOT NULL, text TEXT NOT NULL,
    vector BLOB
);
CREATE INDEX IF NOT EXISTS of_source ON chunks (source);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    heading, text, content='', tokenize="unicode61 remove_diacritics 0 categories 'L* N* Co M*'"
);
CREATE VIRTUAL TABLE IF NOT EXISTS vocabulary USING fts5vocab (words, 'row');
"""
HEADING = 2.0
"""How much a term in the heading counts against one in the text."""
MANY = 1000
"""Chunks from which on a search leaves out terms that tell nothing."""
WAIT = 30.0
"""Seconds that one command waits for another's transaction."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found."""

    chunk: Chunk
    score: float
    """The larger the better; comparable within one search only."""


class Store(Protocol):
    """Keeps chunks by document."""

    def documents(self) -> Mapping[str, str]:
        """Source → hash of what was indexed of it."""
        ...

    def ids(self, source: str) -> frozenset[str]:
        """The chunks of a document."""
        ...

    def put(
        self, source: str, sha256: str, added: Sequence[Chunk], removed: Collection[str], vectors: Sequence[bytes]
    ) -> None:
        """Take a document's new chunks in and its old ones out, all or none.

        Args:
            vectors: float32 bytes of each added chunk, or none at all.
        """
        ...

    def drop(self, source: str) -> None:
        """Take a document out."""
        ...

    def search(self, query: str, top: int) -> list[Hit]:
        """The best chunks by BM25, best first; only those with at least one term of the query."""
        ...

    def nearest(self, vector: NDArray[np.float32], top: int) -> list[Hit]:
        """The best chunks by cosine, best first; none where there are no vectors."""
        ...

    def count(self) -> int:
        """Chunks."""
        ...


class SqliteStore:
    """A `Store` in one file.

    Raises:
        StorageError: the file cannot be made, or is no index.
    """

    def __init__(self, path: str | Path) -> None:
        make_folder(Path(path).parent)
        self.path = Path(path)
        try:
            self._db = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            mend = "Delete it; the next command makes it anew."
            raise StorageError(f"is no index of documents ({error})", where=str(path), mend=mend) from error
        self._matrix: tuple[int, list[int], NDArray[np.float32]] | None = None

    def documents(self) -> Mapping[str, str]:
        """See `Store`."""
        return dict(self._db.execute("SELECT source, sha256 FROM documents"))

    def ids(self, source: str) -> frozenset[str]:
        """See `Store`."""
        return frozenset(id for (id,) in self._db.execute("SELECT id FROM chunks WHERE source = ?", (source,)))

    def put(
        self, source: str, sha256: str, added: Sequence[Chunk], removed: Collection[str], vectors: Sequence[bytes]
    ) -> None:
        """See `Store`."""
        self._matrix = None
        with self._transaction():
            self._remove(removed)
            for at, chunk in enumerate(added):
                place = self._db.execute(
                    "INSERT INTO chunks (id, source, heading, text, vector) VALUES (?, ?, ?, ?, ?)",
                    (chunk.id, chunk.source, chunk.heading, chunk.text, vectors[at] if vectors else None),
                ).lastrowid
                self._db.execute("INSERT INTO words (rowid, heading, text) VALUES (?, ?, ?)", (place, *_terms(chunk)))
            self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", (source, sha256))

    def drop(self, source: str) -> None:
        """See `Store`."""
        self._matrix = None
        with self._transaction():
            self._remove(self.ids(source))
            self._db.execute("DELETE FROM documents WHERE source = ?", (source,))

    def _remove(self, ids: Collection[str]) -> None:
        for id in ids:
            found = self._db.execute("SELECT place, source, heading, text FROM chunks WHERE id = ?", (id,)).fetchone()
            place, source, heading, text = found
            # an index without a copy of the text has to be told what it forgets
            self._db.execute(
                "INSERT INTO words (words, rowid, heading, text) VALUES ('delete', ?, ?, ?)",
                (place, *_terms(Chunk(id, source, heading, text))),
            )
            self._db.execute("DELETE FROM chunks WHERE place = ?", (place,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; another command's transaction is waited for."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(f"cannot be written ({error})", where=str(self.path), mend="Make room.") from error

    def search(self, query: str, top: int) -> list[Hit]:
        """See `Store`."""
        asked = list(dict.fromkeys(terms(query)))
        if not asked:
            return []
        match = " OR ".join(f'"{term}"' for term in self._telling(asked))
        rows = self._db.execute(
            "SELECT c.id, c.source, c.heading, c.text, -bm25(words, ?, 1.0) AS score FROM words "
            "JOIN chunks c ON c.place = words.rowid WHERE words MATCH ? ORDER BY score DESC, c.id LIMIT ?",
            (HEADING, match, top),
        )
        return [Hit(Chunk(*row[:4]), row[4]) for row in rows]

    def _telling(self, asked: Sequence[str]) -> Sequence[str]:
        """The terms without those that more than half of many chunks have: they count as nothing in BM25 and would have
        every chunk looked at. All of them where no others occur."""
        holes, chunks = ",".join("?" * len(asked)), self.count()
        if chunks < MANY:
            return asked
        found = self._db.execute(f"SELECT term, doc FROM vocabulary WHERE term IN ({holes})", asked)
        return [term for term, often in found if often <= chunks / 2] or asked

    def nearest(self, vector: NDArray[np.float32], top: int) -> list[Hit]:
        """See `Store`."""
        places, matrix = self._vectors()
        if not places:
            return []
        scores = matrix @ (vector / max(float((vector @ vector) ** 0.5), 1e-12))
        best = (-scores).argsort(kind="stable")[:top].tolist()
        rows = {
            place: Chunk(*rest)
            for place, *rest in self._db.execute(
                f"SELECT place, id, source, heading, text FROM chunks WHERE place IN ({','.join('?' * len(best))})",
                [places[at] for at in best],
            )
        }
        return [Hit(rows[places[at]], float(scores[at])) for at in best]

    def _vectors(self) -> tuple[list[int], NDArray[np.float32]]:
        """Places and unit vectors [chunks, width], kept until something changes here or elsewhere."""
        import numpy as np

        [(version,)] = self._db.execute("PRAGMA data_version")
        if self._matrix is None or self._matrix[0] != version:
            rows = list(self._db.execute("SELECT place, vector FROM chunks WHERE vector IS NOT NULL ORDER BY place"))
            matrix = np.array([np.frombuffer(vector, np.float32) for _, vector in rows], np.float32)
            if rows:
                matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
            self._matrix = (version, [place for place, _ in rows], matrix)
        return self._matrix[1], self._matrix[2]

    def count(self) -> int:
        """See `Store`."""
        [(number,)] = self._db.execute("SELECT count(*) FROM chunks")
        return int(number)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def _terms(chunk: Chunk) -> tuple[str, str]:
    return " ".join(terms(chunk.heading)), " ".join(terms(chunk.text))
