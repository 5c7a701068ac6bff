"""What kasauti/nano can do without training: picking among 5 listed intents that it has never seen, with no and with
retrieved examples.

`python tools/nano/evaluate.py --data ../shared/data --model FOLDER [--rows 900]` prints one JSON object. Chance is 0.2.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from kasauti.chat.render import Renderer
from kasauti.chat.supervise import supervise_rows
from kasauti.chat.template import freeze
from kasauti.core.types import Message
from kasauti.measure.statistics import wilson
from kasauti.model.labels import build_trie
from kasauti.model.load import load
from kasauti.model.posterior import label_log_probabilities
from sources import clinc_rows, held_out_intents

CHOICES = 5
EXAMPLES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, default=900)
    options = parser.parse_args()
    print(json.dumps(evaluate(options.data, options.model, options.rows), indent=1))


def evaluate(data: Path, model: str, rows: int, seed: int = 5) -> dict[str, object]:
    """Accuracy with Wilson's 95% interval, with no example and with five retrieved ones."""
    rng = random.Random(seed)
    intents = held_out_intents(data)
    pool = {intent: [t for t, i in clinc_rows(data, "train") if i == intent] for intent in intents}
    tests = [(t, i) for t, i in clinc_rows(data, "test") if i in pool]
    loaded = load(model, ".")
    frozen = freeze(loaded.tokenizer)
    renderer = Renderer(frozen, loaded.tokenizer)
    retrieve = _retriever([(t, i) for i, texts in pool.items() for t in texts])
    right = {"none": 0, "retrieved": 0}
    vote = 0
    drawn = [rng.choice(tests) for _ in range(rows)]
    for text, truth in drawn:
        listed = rng.sample([truth, *rng.sample([i for i in intents if i != truth], CHOICES - 1)], CHOICES)
        system = Message(role="system", content=_system(listed))
        shots = retrieve(text, listed)
        vote += max({i for _, i in shots}, key=[i for _, i in shots].count) == truth
        turns = [Message(role=r, content=c) for t, i in shots for r, c in (("user", t), ("assistant", i))]
        probe = [Message(role="user", content="a")]
        made = supervise_rows(frozen, loaded.tokenizer, [(0, probe, label) for label in listed])
        trie = build_trie(
            {label: [x for x in row.labels if x != -100] for label, row in zip(listed, made, strict=True)}
        )
        user = Message(role="user", content=text)
        prompts = [renderer.render_prompt([system, user]), renderer.render_prompt([system, *turns, user])]
        best = label_log_probabilities(loaded.model, prompts, trie).argmax(axis=1)
        right["none"] += listed[best[0]] == truth
        right["retrieved"] += listed[best[1]] == truth
    out: dict[str, object] = {
        "rows": rows,
        "choices": CHOICES,
        "held_out_intents": len(intents),
        "vote_of_the_retrieved": vote / rows,
    }
    for name, count in right.items():
        low, high = wilson(count, rows)
        out[name] = {"accuracy": count / rows, "low": low, "high": high}
    return out


def _system(labels: list[str]) -> str:
    listed = "\n".join(f"- {label}" for label in labels)
    return (
        f"Classify the message into exactly one category. Respond with only the category name.\n\nCategories:\n{listed}"
    )


def _retriever(rows: list[tuple[str, str]]):  # type: ignore[no-untyped-def]
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(sublinear_tf=True).fit([t for t, _ in rows])
    matrix = vectors.transform([t for t, _ in rows])

    def nearest(text: str, listed: list[str]) -> list[tuple[str, str]]:
        """The five most similar rows of the listed intents, the nearest last, where it stands next to the question."""
        similar = (matrix @ vectors.transform([text]).T).toarray().ravel()
        order = [at for at in similar.argsort()[::-1] if rows[at][1] in listed][:EXAMPLES]
        return [rows[at] for at in reversed(order)]

    return nearest


if __name__ == "__main__":
    main()
