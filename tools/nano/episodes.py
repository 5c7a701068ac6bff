"""Turns labelled texts into chat episodes: pick one of the categories listed in the prompt, text after text.

Walks in: pools of labelled texts, a noise function, a random generator. Walks out: `Episode`s. The answers that came
before are the worked examples of those that come after, so one list of categories teaches choosing with no, one and
several examples at once. Label sets, their names, their order, descriptions, wording and examples are drawn anew for
every episode, so that nothing but reading the prompt can answer it. It knows no tokens.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sources import Pool

Turns = list[tuple[str, str]]


@dataclass(frozen=True)
class Episode:
    """A conversation to learn from."""

    turns: Turns
    """Pairs of role and text."""
    skip: int = 0
    """So many of its first answers are examples only: nothing before them tells what their labels mean."""


INSTRUCTIONS = [
    "Classify the message into exactly one category.", "Which category does this message belong to?",
    "You are a classifier. Read the customer's message and answer with one category.",
    "Pick the label that fits the text best.", "Assign one intent to the user's message.",
    "You sort support tickets. Choose the right queue.", "Decide what the user wants.",
    "Read the complaint and name its category.", "Label the following text.",
    "You are a support agent who routes requests. Answer with the route only.", "Identify the intent.",
    "Your job is to find the topic of a message.", "Choose one of the options for this text.",
    "You are an expert annotator. Give the class of the text.", "Tell which of these it is about.",
    "Classify the customer query into one of the intents.", "Classify the request. Answer with only the category name.",
    "You are a careful assistant that classifies short texts.",
]  # fmt: skip
ENDINGS = [
    "", "", " Respond with only the category name, nothing else.", " Answer with the name only.", " Give just the label.",
    " Reply with exactly one of them.", " No explanation.", " Output the category and nothing more.",
]  # fmt: skip
ABOUT = [
    "Say in one sentence what the customer's case is.",
    "Describe the situation in a sentence.",
    "What is this message about? Answer with a sentence.",
    "Summarise the request in one line.",
]
HEADERS = ["Categories:", "Choose from:", "Options:", "Labels:", "The categories are:", "Intents:", "Possible answers:",
           "Answer with exactly one of these categories:", "Allowed labels:"]  # fmt: skip
PREFIXES = [
    "",
    "",
    "",
    "",
    "",
    "Text: ",
    "Message: ",
    "Complaint: ",
    "Query: ",
    "Customer: ",
    "Question: ",
    "Ticket: ",
    "Input: ",
]
STOP = set(
    [
        "i",
        "a",
        "an",
        "the",
        "to",
        "of",
        "in",
        "on",
        "for",
        "is",
        "it",
        "my",
        "me",
        "you",
        "your",
        "and",
        "or",
        "can",
        "could",
        "would",
        "will",
        "do",
        "does",
        "did",
        "what",
        "how",
        "when",
        "where",
        "which",
        "who",
        "why",
        "be",
        "am",
        "are",
        "was",
        "were",
        "have",
        "has",
        "had",
        "with",
        "that",
        "this",
        "there",
        "so",
        "if",
        "not",
        "no",
        "at",
        "as",
        "by",
        "from",
        "about",
        "please",
        "want",
        "need",
        "like",
        "get",
        "know",
        "tell",
        "let",
        "us",
        "we",
        "he",
        "she",
        "they",
        "them",
        "his",
        "her",
        "its",
        "our",
        "just",
        "any",
        "some",
        "ok",
        "yes",
        "hi",
        "hello",
        "sir",
        "hey",
        "im",
        "i'm",
        "it's",
        "what's",
        "don't",
    ]
)
NONSENSE = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "omega",
    "red",
    "blue",
    "green",
    "yellow",
    "purple",
    "orange",
    "tiger",
    "lion",
    "zebra",
    "panda",
    "eagle",
    "north",
    "south",
    "east",
    "west",
    "apple",
    "mango",
    "banana",
    "lotus",
    "river",
    "stone",
    "cloud",
    "ember",
    "onyx",
    "pearl",
    "quartz",
    "ruby",
    "topaz",
    "amber",
    "cedar",
    "maple",
    "willow",
]


def content_words(text: str) -> list[str]:
    """Words that say something, in order, lower-cased."""
    return [w for w in re.findall(r"[^\W\d_]{3,}", text.lower()) if w not in STOP]


class Lexical:
    """Inverse document frequencies, to find similar texts and the words that name a text."""

    def __init__(self, texts: list[str]) -> None:
        counts = Counter(w for text in texts for w in set(content_words(text)))
        self.idf = {w: math.log(len(texts) / n) for w, n in counts.items()}

    def overlap(self, a: set[str], b: set[str]) -> float:
        return sum(self.idf.get(w, 8.0) for w in a & b) / (1.0 + sum(self.idf.get(w, 8.0) for w in a | b))

    def keywords(self, text: str, rng: random.Random, n: int) -> list[str]:
        """`n` words of the text, rarer ones preferred, in their order."""
        words = list(dict.fromkeys(content_words(text)))
        scored = sorted(words, key=lambda w: -self.idf.get(w, 0.0) * rng.uniform(0.4, 1.0))[:n]
        return [w for w in words if w in scored]


def dress(label: str, rng: random.Random) -> Callable[[str], str]:
    """One way of writing label names for a whole episode: snake_case, Title Case, plain words, kebab-case, UPPER."""
    del label
    way = rng.choices(["snake", "plain", "title", "kebab", "upper", "camel"], [58, 15, 12, 6, 5, 4])[0]

    def write(name: str) -> str:
        words = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).replace("_", " ").replace("-", " ").split()
        if way == "snake":
            return "_".join(words).lower()
        if way == "plain":
            return " ".join(words).lower()
        if way == "title":
            return " ".join(w.capitalize() for w in words)
        if way == "kebab":
            return "-".join(words).lower()
        if way == "upper":
            return "_".join(words).upper()
        return words[0].lower() + "".join(w.capitalize() for w in words[1:])

    return write


class Episodes:
    """Draws episodes from the pools."""

    def __init__(
        self, pools: list[Pool], weights: list[float], free_texts: list[str], noise: Callable[[str, random.Random], str]
    ) -> None:
        self.pools, self.weights, self.noise = pools, weights, noise
        self.free = [t for t in free_texts if len(content_words(t)) >= 3]
        self.lexical = Lexical([t for p in pools for ts in p.texts.values() for t in ts] + self.free)
        self.bags = {t: set(content_words(t)) for p in pools for ts in p.texts.values() for t in ts}

    def draw(self, rng: random.Random) -> Episode:
        """One episode: 58% real labels, 22% labels made of the texts' own words, 20% labels that mean nothing without
        examples."""
        roll = rng.random()
        if roll < 0.58:
            return self.listed(rng)
        if roll < 0.80:
            return self.keyword(rng)
        return self.nonsense(rng)

    def pool(self, rng: random.Random) -> Pool:
        return rng.choices(self.pools, self.weights)[0]

    def size(self, rng: random.Random, most: int) -> int:
        roll = rng.random()
        k = rng.randint(2, 8) if roll < 0.66 else rng.randint(9, 16) if roll < 0.94 else rng.randint(17, 60)
        return min(k, most)

    def listed(self, rng: random.Random) -> Episode:
        """Real labels of one domain (sometimes of several), listed with or without descriptions."""
        pool = self.pool(rng)
        if rng.random() < 0.3:
            other = self.pool(rng)
            texts = {**other.texts, **pool.texts}
            pool = Pool("mixed", texts, {**other.descriptions, **pool.descriptions})
        k = self.size(rng, len(pool.texts))
        labels = rng.sample(sorted(pool.texts), k)
        truth = rng.choice(labels)
        text = rng.choice(pool.texts[truth])
        roll = rng.random()
        if k > 20 or roll < 0.12:
            shots = []
        elif roll < 0.55:
            shots = self.retrieved(pool.texts, labels, text, rng.randint(2, 6), rng)
        else:
            chosen = [rng.choice(labels) for _ in range(rng.randint(3, 7))]
            shots = [(rng.choice(pool.texts[label]), label) for label in chosen]
        write = dress(truth, rng)
        describe = k <= 16 and rng.random() < (0.6 if truth in pool.descriptions else 0.3)
        described = {write(label): self.describe(pool, label, text, rng) if describe else "" for label in labels}
        listed = not shots or rng.random() < 0.9
        system = self.system([write(x) for x in labels], described, listed, rng)
        asked = [(t, write(y)) for t, y in [*shots, (text, truth)]]
        return Episode(self.turns(system, asked, rng), 0 if listed else len(shots))

    def describe(self, pool: Pool, label: str, text: str, rng: random.Random) -> str:
        """The written description, or words from another text of the label."""
        if label in pool.descriptions and rng.random() < 0.8:
            return pool.descriptions[label]
        others = [t for t in rng.sample(pool.texts[label], min(3, len(pool.texts[label]))) if t != text]
        if not others:
            return ""
        if rng.random() < 0.4:
            return "for example: " + " ".join(others[0].split()[:14])
        words = [w for t in others for w in self.lexical.keywords(t, rng, 3)]
        return "mentions " + ", ".join(dict.fromkeys(words[:6]))

    def retrieved(
        self, texts: dict[str, list[str]], labels: list[str], text: str, shots: int, rng: random.Random
    ) -> list[tuple[str, str]]:
        """The texts nearest to `text`, the nearest last, as retrieval would give them."""
        each = max(4, 120 // len(labels))
        pairs = [
            (t, label) for label in labels for t in rng.sample(texts[label], min(each, len(texts[label]))) if t != text
        ]
        bag = self.bags.get(text) or set(content_words(text))
        pairs.sort(key=lambda pair: self.lexical.overlap(bag, self.bags.get(pair[0], set())))
        return pairs[-shots:]

    def keyword(self, rng: random.Random) -> Episode:
        """Labels made of words of the texts themselves: reading, with any vocabulary."""
        k = self.size(rng, 12)
        texts = rng.sample(self.free, k)
        write = dress("", rng)
        labels = [write("_".join(self.lexical.keywords(t, rng, rng.randint(1, 3)))) for t in texts]
        system = self.system(labels, {}, True, rng)
        asked = list(zip(texts, labels, strict=True))
        rng.shuffle(asked)
        return Episode(self.turns(system, asked[: rng.randint(1, 6)], rng))

    def nonsense(self, rng: random.Random) -> Episode:
        """Labels whose names say nothing: only the worked examples tell what they mean."""
        pool = self.pool(rng)
        k = min(rng.randint(2, 4), len(pool.texts))
        real = rng.sample(sorted(pool.texts), k)
        names = rng.choice(
            [
                lambda: [
                    f"{rng.choice(['class', 'category', 'label', 'type', 'group'])}_{i}"
                    for i in rng.sample(range(1, 20), k)
                ],
                lambda: rng.sample(NONSENSE, k),
                lambda: rng.sample("ABCDEFGHJKLMN", k),
            ]
        )()
        name = dict(zip(real, names, strict=True))
        order = [*rng.sample(real, k), *[rng.choice(real) for _ in range(rng.randint(3, 6))]]
        asked = [(rng.choice(pool.texts[label]), name[label]) for label in order]
        system = self.system(names, {}, rng.random() < 0.6, rng)
        return Episode(self.turns(system, asked, rng), k)

    def system(self, labels: list[str], described: dict[str, str], listed: bool, rng: random.Random) -> str:
        system = rng.choice(INSTRUCTIONS) + rng.choice(ENDINGS)
        if not listed:
            return system
        order = sorted(labels) if rng.random() < 0.2 else rng.sample(labels, len(labels))
        header = rng.choice(HEADERS)
        if rng.random() < 0.2 and not any(described.values()):
            return f"{system}\n\n{header} {', '.join(order)}"
        lines = [f"- {label}: {described[label]}" if described.get(label) else f"- {label}" for label in order]
        return f"{system}\n\n{header}\n" + "\n".join(lines)

    def turns(self, system: str, asked: list[tuple[str, str]], rng: random.Random) -> Turns:
        prefix = rng.choice(PREFIXES)
        noisy = rng.random() < 0.45
        turns = [("system", system)]
        for text, answer in asked:
            turns += [("user", prefix + (self.noise(text, rng) if noisy else text)), ("assistant", answer)]
        return turns


def plain_classification(pool: Pool, noise: Callable[[str, random.Random], str], rng: random.Random) -> Episode:
    """Instructions without a list: what a tuned model sees. The state after a text must tell what the text is about,
    in names and sometimes in a sentence."""
    label = rng.choice(sorted(pool.texts))
    text = rng.choice(PREFIXES) + noise(rng.choice(pool.texts[label]), rng)
    domain = f"Domain: {pool.name}. " if rng.random() < 0.5 else ""
    if pool.descriptions.get(label) and rng.random() < 0.25:
        return Episode(
            [("system", domain + rng.choice(ABOUT)), ("user", text), ("assistant", pool.descriptions[label])]
        )
    answer = label if rng.random() < 0.7 else dress(label, rng)(label)
    system = f"{domain}{rng.choice(INSTRUCTIONS)}{rng.choice(ENDINGS)}"
    return Episode([("system", system), ("user", text), ("assistant", answer)])
