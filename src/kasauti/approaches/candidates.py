"""Prompts worth trying: instruction variants, ways to list the labels, worked examples and their order.

Walks in: a task, training rows, a seed. Walks out: `Candidate`s, the same ones for the same seed. It knows no model
and no score, and reads no validation row.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol, Self

from kasauti.approaches.classical import WORD
from kasauti.approaches.prompt import listed_instructions
from kasauti.core.types import Example, Message, Task
from kasauti.data.conversation import content

QUESTION = "Which of the categories does the message belong to?\nAnswer with the name of one category and nothing else."
CAREFUL = (
    "Read the message, find what it is mainly about, and choose the category that fits it best. Where two fit, choose "
    "the more specific one.\nRespond with the category's name exactly as it is listed, and with nothing else."
)
LIKE_THE_EXAMPLES = "Answer with exactly what is asked for, in the form of the examples, and with nothing else."
TELLING = 6
"""Words that describe a label made from the training rows."""
LEAST_OFTEN = 2
"""Rows of a label that a word has to stand in before it is telling."""


class Rewriter(Protocol):
    """Whatever can write instructions anew, such as a larger model behind an endpoint or a prompt optimiser."""

    def __call__(self, task: Task, train: Sequence[Example]) -> Sequence[str]:
        """Instructions to try beside those of the task; training rows may be shown to whoever writes them."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One prompt: what stands before the row that is asked."""

    instructions: str
    """What the system turn begins with; empty for nothing."""
    descriptions: Mapping[str, str] | None
    """Label → description, as they are listed; None for no list."""
    shots: tuple[tuple[str, str], ...] = ()
    """(user turn, answer) of the worked examples, in order."""
    made_of: Mapping[str, str]
    """What was varied → the variant's name."""

    def system(self, task: Task, own: str | None = None) -> str:
        """The system turn; a row's own instructions stand in place of these."""
        told = self.instructions if own is None else own
        return told.strip() if self.descriptions is None else listed_instructions(task, told, self.descriptions)

    def conversation(self, task: Task, example: Example) -> list[Message]:
        """System turn (where there is one), worked examples, the row's earlier turns, the row."""
        own = next((turn.content for turn in example.history if turn.role == "system"), None)
        system = self.system(task, own)
        turns = [Message(role="system", content=system)] if system else []
        for asked, answer in self.shots:
            turns += [Message(role="user", content=asked), Message(role="assistant", content=answer)]
        turns += [turn for turn in example.history if turn.role != "system"]
        return [*turns, Message(role="user", content=example.text)]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "instructions": self.instructions,
            "descriptions": None if self.descriptions is None else dict(self.descriptions),
            "shots": [list(shot) for shot in self.shots],
            "made_of": dict(self.made_of),
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `document`."""
        return cls(**{**document, "shots": tuple((asked, answer) for asked, answer in document["shots"])})


def as_written(task: Task) -> Candidate:
    """The prompt of the task file, which every other has to beat."""
    listing = "descriptions" if any(task.labels.values()) else "names" if task.labels else "none"
    made_of = {"instructions": "as written", "labels": listing, "examples": "none"}
    return Candidate(instructions=task.instructions, descriptions=dict(task.labels) or None, made_of=made_of)


def candidates(
    task: Task, train: Sequence[Example], number: int, seed: int, rewritten: Sequence[str] = ()
) -> list[Candidate]:
    """So many prompts, or as many as there are; the task's own first.

    About half of the others have worked examples, and no variant of one part is tried much oftener than another.

    Args:
        rewritten: instructions to try beside the variants that are made here.
    """
    first = as_written(task)
    parts = list(product(_instructions(task, rewritten).items(), _listings(task, train).items()))
    plain = [one for one in parts if one[0][0] != "none" or one[1][1] is not None or not task.labels]
    # With no example the labels have to be listed; where there are none, the instructions are all there is.
    bare = [one for one in plain if one[1][1] is not None or (not task.labels and one[0][0] != "none")]
    shots = _shots(task, train, seed)
    draw = random.Random(seed)
    made, seen = [first], {(first.made_of["instructions"], first.made_of["labels"], "none")}
    decks = {name: _dealt(plain if kind else bare, draw) for name, kind in shots.items()}
    order = [name for name in shots if name != "none"]
    turns = [name for at in range(number * 2) for name in (order[at % len(order)] if order else "none", "none")]
    for name in turns:
        deck = decks[name]
        while deck and len(made) < number:
            (told, instructions), (listing, descriptions) = deck.pop()
            if (told, listing, name) in seen:
                continue
            seen.add((told, listing, name))
            made_of = {"instructions": told, "labels": listing, "examples": name}
            one = Candidate(instructions=instructions, descriptions=descriptions, shots=shots[name], made_of=made_of)
            made.append(one)
            break
    return made[:number]


def _dealt(parts: Sequence[Any], draw: random.Random) -> list[Any]:
    """Shuffled so that the same instructions come up again only after all others have."""
    by_told: dict[str, list[Any]] = {}
    for one in draw.sample(list(parts), len(parts)):
        by_told.setdefault(one[0][0], []).append(one)
    rounds = max(map(len, by_told.values()), default=0)
    return [some[at] for at in range(rounds) for some in by_told.values() if at < len(some)][::-1]


def _instructions(task: Task, rewritten: Sequence[str]) -> dict[str, str]:
    made = {"as written": task.instructions, "question": QUESTION, "careful": CAREFUL, "none": ""}
    if not task.labels:
        alike = f"{task.instructions}\n{LIKE_THE_EXAMPLES}".strip()
        made = {"as written": task.instructions, "like the examples": alike, "none": ""}
    made |= {f"rewritten {at}": text for at, text in enumerate(rewritten, 1)}
    return {name: text for name, text in made.items() if name == "none" or text.strip()}


def _listings(task: Task, train: Sequence[Example]) -> dict[str, Mapping[str, str] | None]:
    if not task.labels:
        return {"none": None}
    made: dict[str, Mapping[str, str] | None] = {"names": dict.fromkeys(task.labels, "")}
    if any(task.labels.values()):
        made["descriptions"] = dict(task.labels)
    words = telling_words(train, tuple(task.labels))
    if any(words.values()):
        made["telling words"] = {label: ", ".join(some) for label, some in words.items()}
    return {**made, "none": None}


def telling_words(train: Sequence[Example], labels: Sequence[str], most: int = TELLING) -> dict[str, list[str]]:
    """Label → the words that tell it from the others, most telling first.

    A word's weight is its share of the label's words times log(1 + words of an average label / occurrences anywhere):
    TF-IDF with a label as the document (Grootendorst 2022, arXiv 2203.05794).
    """
    counts: dict[str, Counter[str]] = {label: Counter() for label in labels}
    rows: dict[str, Counter[str]] = {label: Counter() for label in labels}
    for row in train:
        if row.answer in counts:
            found = [word for word in re.findall(WORD, content(row).lower()) if not word.isdigit() and len(word) > 1]
            counts[row.answer].update(found)
            rows[row.answer].update(set(found))
    whole: Counter[str] = Counter()
    for one in counts.values():
        whole.update(one)
    present = sum(bool(one) for one in counts.values())
    average = whole.total() / max(1, present)
    made = {}
    for label, own in counts.items():
        total = max(1, own.total())
        weight = {
            word: count / total * math.log(1 + average / whole[word])
            for word, count in own.items()
            if rows[label][word] >= LEAST_OFTEN and count * present > whole[word]  # more here than elsewhere
        }
        made[label] = sorted(weight, key=lambda word: (-weight[word], word))[:most]
    return made


def _shots(task: Task, train: Sequence[Example], seed: int) -> dict[str, tuple[tuple[str, str], ...]]:
    """Ways to choose worked examples, and orders of them → turns.

    Only rows without earlier turns: an example is one question and its answer.
    """
    if not task.labels:
        return {"none": (), **_drawn_texts(train, seed)}
    by_label: dict[str, list[Example]] = {label: [] for label in task.labels}
    for row in train:
        if row.answer in by_label and not row.history:
            by_label[row.answer].append(row)
    if not any(by_label.values()):
        return {"none": ()}
    words = telling_words(train, tuple(task.labels), most=30)
    typical = {label: _typical(some, words[label]) for label, some in by_label.items() if some}
    made: dict[str, list[Example]] = {"typical, by label": [some[0] for some in typical.values()]}
    made["typical, mixed"] = random.Random(seed).sample(made["typical, by label"], len(typical))
    for at in (1, 2):
        draw = random.Random(seed + at)
        drawn = [draw.choice(some) for some in by_label.values() if some]
        made[f"drawn {at}, mixed"] = draw.sample(drawn, len(drawn))
    twice = [row for some in typical.values() for row in some[:2]]
    if len(twice) > len(typical):
        made["two typical, mixed"] = random.Random(seed).sample(twice, len(twice))
    turns = {name: tuple((row.text, row.answer or "") for row in some) for name, some in made.items()}
    return {"none": (), **turns}


def _drawn_texts(train: Sequence[Example], seed: int) -> dict[str, tuple[tuple[str, str], ...]]:
    """Examples for tasks without labels: few and several, drawn twice, of the shorter half."""
    rows = [row for row in train if row.answer and not row.history]
    rows = sorted(rows, key=lambda row: (len(content(row)) + len(row.answer or ""), row.id))
    short = rows[: max(1, (len(rows) + 1) // 2)]
    made = {}
    for number in (2, 4, 8):
        for at in (1, 2):
            drawn = random.Random(f"{seed} {number} {at}").sample(short, min(number, len(short)))
            if drawn:
                made[f"{number} drawn, {at}"] = tuple((row.text, row.answer or "") for row in drawn)
    return made


def _typical(rows: Sequence[Example], words: Sequence[str]) -> list[Example]:
    """The rows with the most of the label's telling words for their length, of those no longer than most."""
    told, limit = set(words), sorted(len(content(row)) for row in rows)[(len(rows) - 1) // 2]

    def share(row: Example) -> float:
        found = set(re.findall(WORD, content(row).lower()))
        return len(found & told) / math.sqrt(max(1, len(found)))

    short = [row for row in rows if len(content(row)) <= limit]
    return sorted(short, key=lambda row: (-share(row), row.id))
