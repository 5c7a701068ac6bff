"""Generated complaints in any number, with faults planted in known number.

Walks in: a number of rows, a folder. Walks out: a task folder (`task.yaml`, `train.csv`, `test.csv`) and what was
planted in it. It does not know what is measured on it.

Words follow Zipf's law over a vocabulary that begins with the words of the bundled complaints; a quarter of a row's
words are from its label's own list, every thirtieth has a typing error, and half of the rows name an amount or an
order. So the vocabulary grows with the rows, as that of real text does.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import kasauti

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LABELS = 12
VOCABULARY = 30_000
TOPIC = 80
"""Words of each label's own."""
SHORTEST, LONGEST = 20, 40
"""Words in a row."""
TEST = 0.1
"""Share of the rows that go into the test file."""
PLANTED = {"exact": 0.005, "normalised": 0.005, "near": 0.01, "conflicting": 0.001}
"""Kind → share of the training rows that repeat an earlier one so."""
LEAKED = 0.01
"""Share of the test rows that nearly repeat a training row."""
_CHUNK = 20_000
_CONSONANTS = ("b", "bh", "ch", "d", "dh", "g", "j", "k", "kh", "l", "m", "n", "p", "r", "s", "sh", "t", "th", "v", "y")
_SYLLABLES = [a + b for a in _CONSONANTS for b in ("a", "aa", "e", "i", "o", "u")]


def write_task(folder: Path, rows: int, seed: int) -> dict[str, int]:
    """Write a task of so many rows; how many of each fault were planted."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    labels = [f"label_{number:02}" for number in range(LABELS)]
    test = round(TEST * rows)
    draw = np.random.default_rng(seed)
    stream = _fresh(draw)
    planted: Counter[str] = Counter()
    kept: list[tuple[str, int]] = []
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file)
        write.writerow(["complaint", "category"])
        for _ in range(rows - test):
            kind = _kind(draw.random()) if len(kept) > 100 else ""
            if kind:
                text, label = kept.pop(int(draw.integers(len(kept))))  # each is repeated once
                text, label = _repeat(kind, text, label, draw)
                planted[kind] += 1
            else:
                text, label = next(stream)
                if len(kept) < 50_000:
                    kept.append((text, label))
            write.writerow([text, labels[label]])
    with (folder / "test.csv").open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file)
        write.writerow(["complaint", "category"])
        for _ in range(test):
            text, label = next(stream)
            if draw.random() < LEAKED:
                text, label = kept.pop(int(draw.integers(len(kept))))
                text = _repeat("near", text, label, draw)[0]
                planted["leaked"] += 1
            write.writerow([text, labels[label]])
    (folder / "task.yaml").write_text(_task(labels), encoding="utf-8")
    return {"rows": rows, "train": rows - test, "test": test, **planted}


def texts(count: int, seed: int) -> list[str]:
    """`count` texts, one in fifty nearly repeating an earlier one."""
    import numpy as np

    draw = np.random.default_rng(seed)
    stream = _fresh(draw)
    made: list[str] = []
    for number in range(count):
        if number > 100 and draw.random() < 0.02:
            made.append(_repeat("near", made[int(draw.integers(number))], 0, draw)[0])
        else:
            made.append(next(stream)[0])
    return made


def _kind(chance: float) -> str:
    for kind, share in PLANTED.items():
        if chance < share:
            return kind
        chance -= share
    return ""


def _repeat(kind: str, text: str, label: int, draw: np.random.Generator) -> tuple[str, int]:
    if kind == "normalised":
        return f"{text.upper()}!!", label
    if kind == "near":  # one word more: Jaccard is at least 1 - 1/(distinct words + 1)
        at = int(draw.integers(len(text)))
        cut = text.find(" ", at)
        return (text[:cut] + " naya" + text[cut:] if cut > 0 else f"{text} naya"), label
    if kind == "conflicting":
        return text, (label + 1) % LABELS
    return text, label


def _vocabulary() -> list[str]:
    """Words by falling frequency: the bundled complaints' own, then made-up ones."""
    # not by way of `kasauti.model`: each process of the audit would load torch, as those of the command do not
    folder = Path(kasauti.__file__).parent / "bundled" / "disputes" / "data"
    bundled = (folder / "complaints.csv").read_text(encoding="utf-8")
    found = [word for word, _ in Counter(re.findall(r"[^\W\d_]+", bundled.lower())).most_common()]
    seen, number = set(found), 0
    while len(found) < VOCABULARY:
        number += 1
        rest, word = number * 7919, ""
        while rest:
            rest, digit = divmod(rest, len(_SYLLABLES))
            word += _SYLLABLES[digit]
        if word not in seen:
            seen.add(word)
            found.append(word)
    return found[:VOCABULARY]


def _fresh(draw: np.random.Generator) -> Iterator[tuple[str, int]]:
    """Rows without end, none a repetition on purpose."""
    import numpy as np

    words = np.array(_vocabulary(), dtype=object)
    common: NDArray[np.float64] = np.cumsum(1.0 / np.arange(2, VOCABULARY + 2))
    topics = 200 + draw.permutation(VOCABULARY // 4)[: LABELS * TOPIC].reshape(LABELS, TOPIC)
    while True:
        labels = draw.integers(LABELS, size=_CHUNK)
        sizes = draw.integers(SHORTEST, LONGEST + 1, size=_CHUNK)
        picked = np.searchsorted(common, draw.random((_CHUNK, LONGEST)) * common[-1])
        own = np.take_along_axis(topics[labels], draw.integers(TOPIC, size=(_CHUNK, LONGEST)), axis=1)
        picked = np.where(draw.random((_CHUNK, LONGEST)) < 0.25, own, picked)
        slips = draw.random((_CHUNK, LONGEST)) < 1 / 30
        named = draw.integers(0, 2_000_000, size=_CHUNK)
        for row, label, size, slip, number in zip(words[picked], labels, sizes, slips, named, strict=True):
            text = [str(word) for word in row[:size]]
            for at in np.flatnonzero(slip[:size]):
                place = int(draw.integers(len(text[at])))
                text[at] = text[at][:place] + "aeiostr"[int(draw.integers(7))] + text[at][place:]
            if number < 500_000:
                text[size // 2] = f"₹{number:,}"
            elif number < 1_000_000:
                text[size // 3] = f"order {number}"
            yield f"{' '.join(text).capitalize()}.", int(label)


def _task(labels: list[str]) -> str:
    listed = "\n".join(f"  - {label}" for label in labels)
    return (
        "name: generated\nkind: classification\n"
        "instructions: Classify the complaint into exactly one category. Respond with the category name only.\n"
        f'input: "Complaint: {{complaint}}"\ntarget: category\nlabels:\n{listed}\nfallback: label_11\n'
        "data: {train: train.csv, validation: null, test: test.csv}\nmodel: kasauti/nano\n"
    )
