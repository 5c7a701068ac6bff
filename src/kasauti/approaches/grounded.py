"""The model asked with the parts of the user's documents that the question is about, and its answer with the sources
that it rests on.

Walks in: a bench whose task names `knowledge`, rows. Walks out: one `Prediction` a row, `sources` among it. For tasks
whose answer is a text and needs facts that are in no model: they change, or must be cited.

The index is kept up with the documents whenever it is asked: a change of theirs is seen by the next answer.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Self

from kasauti.approaches.workbench import Workbench
from kasauti.approaches.written import Tell, Written
from kasauti.chat.render import Renderer
from kasauti.core.errors import TaskError
from kasauti.core.knowledge import Knowledge
from kasauti.core.types import Example, Message, Prediction
from kasauti.data.conversation import messages
from kasauti.data.knowledge.chunks import Chunk, terms
from kasauti.data.knowledge.documents import document_files
from kasauti.data.knowledge.index import Index, Updated, open_store, place_of, shown

CITING = 16
"""Tokens that an answer may have on top, for the numbers of its sources."""
SUPPORT = 0.5
"""A chunk with at least this share of an answer's words is taken for its source where the answer names none."""
RULE = "Answer from the numbered sources. Behind the answer, name the number of each source that you used, as in [1]."
RULE_SILENT = "Answer from the sources."
"""The same where a schema leaves no room for numbers."""
_CITED = re.compile(r"\s*\[(\d+(?:\s*[,;]\s*\d+)*)\]")


class Grounded(Written):
    """Instructions, then the best chunks of the documents with their names, then the input."""

    name = "grounded"
    family = "retrieval"
    cites = True
    """Its answers have sources."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self.updated: Updated | None = None
        self._index: Index | None = None
        self._seen: Sequence[tuple[str, int, int]] = ()
        self._found: dict[str, list[Chunk]] = {}

    @property
    def knowledge(self) -> Knowledge:
        """What the task says of its documents.

        Raises:
            TaskError: nothing.
        """
        if self.bench.task.knowledge is None:
            mend = "Add a line `knowledge: docs`: a folder or file of text, Markdown, HTML, PDF or CSV."
            raise TaskError("grounded needs documents", where="task.yaml: knowledge", mend=mend)
        return self.bench.task.knowledge

    def index(self) -> Index:
        """The index, as the documents are now.

        Raises:
            DataError: a document cannot be read.
        """
        if self._index is None:
            embedder = self.bench.embedder
            self._index = Index(
                store=open_store(self.bench.task.folder, self.knowledge),
                tokens=self.knowledge.tokens,
                overlap=self.knowledge.overlap,
                count=lambda text: len(self.bench.tokenizer(text, add_special_tokens=False)["input_ids"]),
                counted_by=self.bench.model_sha256,
                embed=None if embedder is None else embedder.embed,
                embedded_by="" if embedder is None else embedder.sha256,
                progress=self.bench.progress,
            )
        place = place_of(self.bench.task.folder, self.knowledge)
        # Whether a file changed is asked of the system before its bytes are read: answers are asked for one by one.
        seen = [(name, (stat := file.stat()).st_mtime_ns, stat.st_size) for name, file in document_files(place)]
        if seen != self._seen:
            self.updated, self._seen = self._index.update(place), seen
        return self._index

    def window(self) -> int:
        """The model's own: what is shown is not what it was trained on, and the recipe's length would hold little."""
        most = getattr(self.bench.loaded().model.config.get_text_config(), "max_position_embeddings", None)
        return int(most) if most else self.bench.recipe.length

    def longest(self, train: Sequence[Example]) -> int:
        return super().longest(train) + (0 if self._silent else CITING)

    @property
    def _silent(self) -> bool:
        return self.bench.task.scoring.schema is not None

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        super().fit(train, choose, calibrate)
        self.index()
        assert self.updated is not None  # the index has been made or kept up just now
        self.chosen |= {"top": self.knowledge.top, "documents": self.updated.documents, "chunks": self.updated.chunks}
        return self

    def conversation(self, example: Example) -> Sequence[Message]:
        return self._with(example, self._found.get(example.id, []))

    def _with(self, example: Example, chunks: Sequence[Chunk]) -> Sequence[Message]:
        """The turns with these chunks before what is asked; the system turn is the same for all rows."""
        turns = list(messages(self.bench.task, example, with_answer=False))
        rule = RULE_SILENT if self._silent else RULE
        if turns[0].role == "system":
            turns[0] = Message(role="system", content=f"{turns[0].content}\n\n{rule}")
        else:
            turns.insert(0, Message(role="system", content=rule))
        if chunks:
            listed = "\n\n".join(f"[{n}] {one.name}\n{one.text}" for n, one in enumerate(chunks, start=1))
            turns[-1] = Message(role="user", content=f"Sources:\n{listed}\n\n{turns[-1].content}")
        return turns

    def write(
        self, examples: Sequence[Example], tell: Sequence[Tell | None] = (), most: Sequence[int | None] = ()
    ) -> list[Prediction]:
        index = self.index()
        renderer = Renderer(self.bench.frozen, self.bench.loaded().tokenizer)
        room = self.window() - self.most
        self._found = {
            one.id: _fitting(
                [hit.chunk for hit in index.find(one.text, self.knowledge.top)],
                lambda chunks, one=one: len(renderer.render_prompt(self._with(one, chunks))) <= room,  # type: ignore[misc]
            )
            for one in examples
        }
        # no text is told while it grows: the numbers of its sources are taken out when it is whole
        given = super().write(examples, most=most)
        return [cited(p, self._found[one.id]) for p, one in zip(given, examples, strict=True)]


def _fitting(chunks: list[Chunk], fits: Callable[[Sequence[Chunk]], bool]) -> list[Chunk]:
    """As many of the best chunks as fit."""
    while chunks and not fits(chunks):
        chunks = chunks[:-1]
    return chunks


def cited(prediction: Prediction, chunks: Sequence[Chunk]) -> Prediction:
    """The answer without the numbers of its sources, and the sources by name.

    Those that it numbers; where it numbers none, the chunk that has most of its words, if that has half of them; where
    none has, all that were shown, as nobody knows which it used.
    """
    answer = prediction.answer
    if answer is None or not chunks:
        return prediction
    numbers = [int(n) for group in _CITED.findall(answer) for n in re.findall(r"\d+", group)]
    known = list(dict.fromkeys(n for n in numbers if 1 <= n <= len(chunks)))
    if known:
        bare = _CITED.sub(lambda m: "" if _all_known(m[1], len(chunks)) else m[0], answer).strip()
        return dataclasses.replace(prediction, answer=bare, sources=_names([chunks[n - 1] for n in known]))
    best = max(chunks, key=lambda chunk: support(answer, chunk))
    return dataclasses.replace(prediction, sources=_names([best] if support(answer, best) >= SUPPORT else chunks))


def _all_known(group: str, most: int) -> bool:
    return all(1 <= int(n) <= most for n in re.findall(r"\d+", group))


def _names(chunks: Sequence[Chunk]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chunk.name for chunk in chunks))


def support(answer: str, chunk: Chunk) -> float:
    """Share of an answer's words that the chunk has."""
    said = terms(answer)
    there = set(terms(shown(chunk)))
    return sum(word in there for word in said) / len(said) if said else 0.0
