"""Chunks in LanceDB: for an index that several machines share, or one too large for a file beside the task.

Walks in and out: as `store.Store`. A URI is a folder, an object store (s3://…, gs://…) or a server (db://…, whose key
the LanceDB client reads from LANCEDB_API_KEY). It needs the package: pip install 'kasauti[lancedb]' (75 MB, which is
why it is not the default).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from kasauti.core.errors import StorageError
from kasauti.data.knowledge.chunks import Chunk, terms
from kasauti.data.knowledge.store import Hit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNKS, DOCUMENTS = "chunks", "documents"
_COLUMNS = ["id", "source", "heading", "text"]
F = TypeVar("F", bound=Callable[..., Any])


def _told(function: F) -> F:
    """Whatever the library or its server raises, as one line."""

    @functools.wraps(function)
    def safe(self: LanceStore, *args: Any) -> Any:
        try:
            return function(self, *args)
        except StorageError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise StorageError(f"LanceDB: {first}", where=self.uri, mend="Check `knowledge.store`.") from error

    return cast(F, safe)


class LanceStore:
    """A `Store` in a LanceDB database.

    Raises:
        StorageError: the package is missing, or the database cannot be opened.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        try:
            import lancedb
        except ImportError:
            mend = "pip install 'kasauti[lancedb]', or leave `store` out."
            raise StorageError("the store needs LanceDB", where="knowledge.store", mend=mend) from None
        self._connect = lancedb.connect
        self._open()

    @_told
    def _open(self) -> None:
        import pyarrow as pa

        self._db: Any = self._connect(self.uri)
        text = pa.string()
        schema = pa.schema([(name, text) for name in ("source", "sha256")])
        self._documents = self._db.create_table(DOCUMENTS, schema=schema, exist_ok=True)
        self._chunks: Any = None
        try:
            self._chunks = self._db.open_table(CHUNKS)
        except (FileNotFoundError, ValueError):  # made with the first chunk, whose vector says how wide they are
            self._chunks = None

    @_told
    def documents(self) -> Mapping[str, str]:
        """See `store.Store`."""
        table = self._documents.to_arrow()
        return dict(zip(table["source"].to_pylist(), table["sha256"].to_pylist(), strict=True))

    @_told
    def ids(self, source: str) -> frozenset[str]:
        """See `store.Store`."""
        if self._chunks is None:
            return frozenset()
        found = self._chunks.search().where(f"source = {_quoted(source)}").select(["id"]).limit(10**9).to_list()
        return frozenset(row["id"] for row in found)

    @_told
    def put(
        self, source: str, sha256: str, added: Sequence[Chunk], removed: Collection[str], vectors: Sequence[bytes]
    ) -> None:
        """See `store.Store`. New chunks first and the document last: cut off in between, it is read again."""
        if added:
            self._add(added, vectors)
        if removed:
            self._chunks.delete(f"id IN ({', '.join(map(_quoted, removed))})")
        if added or removed:
            self._chunks.optimize()  # takes what is new into the index of words
        self._documents.delete(f"source = {_quoted(source)}")
        self._documents.add([{"source": source, "sha256": sha256}])

    def _add(self, added: Sequence[Chunk], vectors: Sequence[bytes]) -> None:
        import numpy as np
        from lancedb.index import FTS

        rows: list[dict[str, Any]] = []
        for at, chunk in enumerate(added):
            row: dict[str, Any] = {name: getattr(chunk, name) for name in _COLUMNS}
            row["terms"] = " ".join(terms(f"{chunk.heading}\n{chunk.text}"))
            if vectors:
                row["vector"] = np.frombuffer(vectors[at], np.float32)
            rows.append(row)
        if self._chunks is not None and ("vector" in self._chunks.schema.names) != bool(vectors):
            # an embedding model came or went: every chunk is new then
            self._db.drop_table(CHUNKS)
            self._documents.delete("true")
            self._chunks = None
        if self._chunks is None:
            self._chunks = self._db.create_table(CHUNKS, data=rows)
            # what is indexed is terms already: nothing is stemmed, folded or left out
            whole = FTS(base_tokenizer="whitespace", stem=False, remove_stop_words=False, ascii_folding=False)
            self._chunks.create_index("terms", config=whole)
            return
        self._chunks.merge_insert("id").when_not_matched_insert_all().execute(rows)

    @_told
    def drop(self, source: str) -> None:
        """See `store.Store`."""
        self._documents.delete(f"source = {_quoted(source)}")
        if self._chunks is not None:
            self._chunks.delete(f"source = {_quoted(source)}")

    @_told
    def search(self, query: str, top: int) -> list[Hit]:
        """See `store.Store`."""
        asked = " ".join(dict.fromkeys(terms(query)))
        if not asked or self._chunks is None:
            return []
        found = self._chunks.search(asked, query_type="fts").limit(top).to_list()
        return [_hit(row, row["_score"]) for row in found]

    @_told
    def nearest(self, vector: NDArray[np.float32], top: int) -> list[Hit]:
        """See `store.Store`."""
        if self._chunks is None or "vector" not in self._chunks.schema.names:
            return []
        found = self._chunks.search(vector, vector_column_name="vector").metric("cosine").limit(top).to_list()
        return [_hit(row, 1 - row["_distance"]) for row in found]

    @_told
    def count(self) -> int:
        """See `store.Store`."""
        return 0 if self._chunks is None else int(self._chunks.count_rows())


def _hit(row: Mapping[str, Any], score: float) -> Hit:
    return Hit(Chunk(*(row[name] for name in _COLUMNS)), float(score))


def _quoted(text: str) -> str:
    """As SQL writes a text."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
