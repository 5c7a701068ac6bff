"""Makes clean text look as people type it: slips of the finger, lost punctuation, Hindi words among the English ones.

Walks in: a text and a random generator. Walks out: a text. It knows no labels.
"""

from __future__ import annotations

import random
import re

NEIGHBOURS = {
    "a": "qs", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk", "k": "jl",
    "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "wa", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb",
    "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
SHORT = {
    "please": ["pls", "plz"], "you": ["u"], "your": ["ur"], "are": ["r"], "transaction": ["txn"], "account": ["acct", "a/c", "ac"],
    "amount": ["amt"], "number": ["no", "num"], "because": ["bcz", "coz"], "message": ["msg"], "today": ["2day"],
    "tomorrow": ["tmrw"], "customer": ["cust"], "received": ["recd", "recieved"], "order": ["ordr"], "and": ["n", "&"],
    "have": ["hv"], "money": ["mony"], "already": ["alrdy"], "what": ["wat", "wht"], "the": ["d", "teh"], "not": ["nt"],
    "thanks": ["thx", "thnx"], "sir": ["sr"], "with": ["wid", "w/"], "cancelled": ["canceled", "cancled"], "yesterday": ["ystrdy"],
}  # fmt: skip
PARTICLES = ["yaar", "bhai", "ji", "sir", "na", "hai", "toh", "bhi", "kya", "abhi tak", "please"]


def typos(text: str, rng: random.Random, rate: float) -> str:
    """Slips on about `rate` of the words: a letter dropped, doubled, swapped or replaced by its neighbour; short
    forms."""
    words = text.split(" ")
    for i, word in enumerate(words):
        low = word.lower()
        if low in SHORT and rng.random() < rate * 3:
            words[i] = rng.choice(SHORT[low])
        elif len(word) > 3 and rng.random() < rate:
            words[i] = _slip(word, rng)
    return " ".join(words)


def _slip(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(5)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    if kind == 2:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 3:
        return word[:at] + rng.choice(NEIGHBOURS.get(word[at].lower(), word[at])) + word[at + 1 :]
    vowels = [i for i, letter in enumerate(word[1:], 1) if letter in "aeiou"]
    if not vowels:
        return word
    drop = rng.choice(vowels)
    return word[:drop] + word[drop + 1 :]


def style(text: str, rng: random.Random) -> str:
    """Case and punctuation as typed in a hurry."""
    roll = rng.random()
    if roll < 0.35:
        text = text.lower()
    elif roll < 0.40:
        text = text.upper()
    elif roll < 0.50:
        text = text[:1].upper() + text[1:]
    if rng.random() < 0.3:
        text = re.sub(r"[.,!?;:]+(?=\s|$)", "", text)
    if rng.random() < 0.05:
        text = text + rng.choice(["!!", "!!!", "??", "...", " ??"])
    return text


class CodeMixer:
    """Replaces English words by Hindi ones in Latin script, and now and then in Devanagari."""

    def __init__(self, lexicon: dict[str, tuple[list[str], str]]) -> None:
        self.lexicon = lexicon
        phrases = sorted(lexicon, key=len, reverse=True)
        self.pattern = re.compile(r"\b(" + "|".join(re.escape(p) for p in phrases) + r")\b", re.IGNORECASE)

    def __call__(self, text: str, rng: random.Random, rate: float) -> str:
        """`text` with about `rate` of the words that the lexicon knows replaced."""
        devanagari = rng.random() < 0.15

        def swap(match: re.Match[str]) -> str:
            if rng.random() > rate:
                return match.group(0)
            latin, script = self.lexicon[match.group(1).lower()]
            return script if devanagari and script else rng.choice(latin)

        mixed = self.pattern.sub(swap, text)
        if rng.random() < 0.3:
            mixed = f"{mixed} {rng.choice(PARTICLES)}" if rng.random() < 0.6 else f"{rng.choice(PARTICLES)} {mixed}"
        return mixed


class Noise:
    """The three together, drawn anew for every text."""

    def __init__(self, lexicon: dict[str, tuple[list[str], str]]) -> None:
        self.mix = CodeMixer(lexicon)

    def __call__(self, text: str, rng: random.Random) -> str:
        if rng.random() < 0.30:
            text = self.mix(text, rng, rng.choice([0.3, 0.6, 0.9]))
        if rng.random() < 0.30:
            text = typos(text, rng, rng.choice([0.04, 0.1, 0.2]))
        return style(text, rng) if rng.random() < 0.6 else text
