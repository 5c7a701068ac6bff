"""An index of the user's documents, kept up with them, and asked.

Walks in: a folder of documents, a store, what counts tokens and, where there is one, what makes vectors of texts. Walks
out: the chunks that a question is answered from. It does not know prompts.

Kept up by content: a document whose bytes are as they were is not read again; of one that changed, only chunks whose
hash is new are indexed (and given a vector), and those that are gone are taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kasauti.core.files import STATE, content_hash, file_hash
from kasauti.core.knowledge import Knowledge
from kasauti.core.progress import Progress, silent
from kasauti.data.knowledge.chunks import Chunk, Count, chunks_of, estimate
from kasauti.data.knowledge.documents import document_files, sections_of
from kasauti.data.knowledge.store import Hit, SqliteStore, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1
"""Raised when the same document would give other chunks."""
RANK = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009)."""
DEEP = 5
"""How many times as many chunks each ranking gives as are asked for."""

Embed = Callable[[Sequence[str]], "NDArray[np.float32]"]
"""Texts to vectors, [texts, width]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Updated:
    """What keeping up took."""

    documents: int
    """All of them."""
    read: int
    """Those that were read, being new or changed."""
    gone: int
    """Those that are no more."""
    added: int
    """Chunks that were indexed."""
    removed: int
    """Chunks that were taken out."""
    chunks: int
    """All of them, afterwards."""


@dataclass(kw_only=True)
class Index:
    """Documents, indexed.

    Args:
        store: where the chunks are.
        tokens, overlap: bounds of a chunk.
        count: counts tokens.
        counted_by: says which tokens these are: another tokenizer makes other chunks.
        embed: makes vectors; None for words alone.
        embedded_by: says which model that is.
    """

    store: Store
    tokens: int
    overlap: int
    count: Count = estimate
    counted_by: str = "estimate"
    embed: Embed | None = None
    embedded_by: str = ""
    progress: Progress = silent

    def update(self, path: Path) -> Updated:
        """Make the index what the documents are now.

        Raises:
            DataError: a document cannot be read.
            StorageError: the index cannot be written.
        """
        files = document_files(path)
        known = self.store.documents()
        gone = [source for source in known if source not in dict(files)]
        for source in gone:
            self.store.drop(source)
        read = added = removed = 0
        for at, (source, file) in enumerate(files):
            self.progress("index documents", at, len(files), source)
            sha256 = self._hash(file)
            if known.get(source) != sha256:
                new, old = self._put(source, file, sha256)
                read, added, removed = read + 1, added + new, removed + old
        self.progress("index documents", len(files), len(files))
        return Updated(
            documents=len(files),
            read=read,
            gone=len(gone),
            added=added,
            removed=removed,
            chunks=self.store.count(),
        )

    def _hash(self, file: Path) -> str:
        """Of all that a document's chunks and vectors depend on."""
        return content_hash(
            [FORMAT, file_hash(file), file.suffix, self.tokens, self.overlap, self.counted_by, self.embedded_by]
        )

    def _put(self, source: str, file: Path, sha256: str) -> tuple[int, int]:
        chunks = chunks_of(
            source,
            sections_of(file),
            tokens=self.tokens,
            overlap=self.overlap,
            count=self.count,
            with_vectors=self.embedded_by,
        )
        before = self.store.ids(source)
        added = [chunk for chunk in chunks if chunk.id not in before]
        removed = before - {chunk.id for chunk in chunks}
        self.store.put(source, sha256, added, removed, self._vectors(added))
        return len(added), len(removed)

    def _vectors(self, chunks: Sequence[Chunk]) -> list[bytes]:
        if self.embed is None or not chunks:
            return []
        import numpy as np

        return [row.tobytes() for row in np.asarray(self.embed([shown(chunk) for chunk in chunks]), np.float32)]

    def find(self, query: str, top: int) -> list[Hit]:
        """The best chunks for a question, best first: by BM25, or where there are vectors by both rankings fused."""
        lexical = self.store.search(query, top if self.embed is None else DEEP * top)
        if self.embed is None:
            return lexical
        alike = self.store.nearest(self.embed([query])[0], DEEP * top)
        return fused([lexical, alike], top)


def shown(chunk: Chunk) -> str:
    """A chunk as it is embedded and shown: its heading, then its text."""
    return f"{chunk.heading}\n{chunk.text}" if chunk.heading else chunk.text


def fused(rankings: Sequence[Sequence[Hit]], top: int) -> list[Hit]:
    """Reciprocal rank fusion: the sum of 1 / (60 + rank) over the rankings that have a chunk."""
    scores: dict[str, float] = {}
    chunks: dict[str, Chunk] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, start=1):
            chunks[hit.chunk.id] = hit.chunk
            scores[hit.chunk.id] = scores.get(hit.chunk.id, 0.0) + 1 / (RANK + rank)
    best = sorted(scores, key=lambda id: (-scores[id], id))[:top]
    return [Hit(chunks[id], scores[id]) for id in best]


def open_store(folder: str, knowledge: Knowledge) -> Store:
    """The store that the task file names: a LanceDB URI, or the task's own file.

    Raises:
        StorageError: it cannot be opened.
    """
    if knowledge.store is None:
        return SqliteStore(Path(folder) / STATE / "knowledge" / "index.db")
    from kasauti.data.knowledge.lance import LanceStore

    uri = knowledge.store
    return LanceStore(uri if "://" in uri else str((Path(folder) / Path(uri).expanduser()).resolve()))


def documents_hash(folder: str, knowledge: Knowledge) -> str:
    """Hash of the documents, and of how they are chunked and shown: what answers that rest on them depend on.

    Raises:
        DataError: they are not there.
    """
    files = document_files(place_of(folder, knowledge))
    said = [knowledge.top, knowledge.tokens, knowledge.overlap]
    return content_hash([FORMAT, said, [[source, file_hash(file)] for source, file in files]])


def place_of(folder: str, knowledge: Knowledge) -> Path:
    """Where the documents are.

    Args:
        folder: the task's.
    """
    return (Path(folder) / Path(knowledge.path).expanduser()).resolve()
