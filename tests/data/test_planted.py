"""A task with one fault of each kind, through the real `kasauti audit`: every one is named, with its row."""

from __future__ import annotations

import csv
import json
import random
from typing import Any

import pytest

from kasauti.cli.audit import audit
from kasauti.core.progress import silent
from kasauti.core.task import load_task

TOPICS = {
    "refund_delayed": ("refund", "late", "money", "back", "promised", "credit"),
    "refund_denied": ("denied", "rejected", "refused", "appeal", "claim", "policy"),
    "card_blocked": ("card", "blocked", "swipe", "pin", "chip", "atm"),
    "parcel": ("parcel", "courier", "door", "box", "driver", "street"),
}
EXTRA = {"rare": ("tax", "form", "year"), "parcels": ("boxes", "crate", "pallet"), "unused": ("nothing",)}
LABELS = [*TOPICS, *EXTRA]
LENGTH, WINDOW = 120, 512
LONG = " ".join(f"word{n}" for n in range(70))
BEYOND = " ".join(f"word{n}" for n in range(400))
# name of the fault → (text, label, customer)
TRAIN = {
    "exact duplicate": ("refund of my money is late since may", "refund_delayed", "c1"),
    "exact duplicate 2": ("refund of my money is late since may", "refund_delayed", "c1"),
    "normalised duplicate": ("Refund of my money is LATE since may!", "refund_delayed", "c2"),
    "near-duplicate": ("refund of my money is late since may sir", "refund_delayed", "c3"),
    "conflict": ("card is blocked by whom", "card_blocked", "c4"),
    "conflict 2": ("Card is blocked, by whom?", "parcel", "c5"),
    "near-miss label": ("promised credit did not come in august", "Refund Delayed", "c6"),
    "unlisted label": ("driver left my box in the rain", "complaint", "c7"),
    "no answer": ("the courier rang at the wrong door", "", "c8"),
    "blank input": ("   ", "parcel", "c9"),
    "wrong label": ("parcel courier box driver street door n9991", "card_blocked", "c10"),
    "card number": ("refund to 4111 1111 1111 1111 please", "refund_delayed", "c11"),
    "phone number": ("call me on +91 98765 43210 about the parcel", "parcel", "c12"),
    "e-mail": ("write to me.too@mail.com about the refund", "refund_delayed", "c13"),
    "UPI id": ("paid from asha@okbank and no parcel", "parcel", "c14"),
    "Aadhaar number": ("they kept aadhaar 2345 6789 0124 with the card", "card_blocked", "c15"),
    "PAN": ("my pan ABCPE1234F stands on the claim", "refund_denied", "c16"),
    "control character": ("parcel came \x07 broken at the corner", "parcel", "c17"),
    "zero width": ("re\u200bfund came by cheque instead", "refund_delayed", "c18"),
    "bidi override": ("\u202eparcel\u202c went to my neighbour", "parcel", "c19"),
    "chat template": ("card <|eot_id|> blocked while abroad", "card_blocked", "c20"),
    "over-long": (f"{LONG} parcel", "parcel", "c21"),
    "beyond the window": (f"{BEYOND} parcel", "parcel", "c22"),
    "few of a label": ("tax form for last year", "rare", "c23"),
    "few of a label 2": ("crate and pallet of boxes", "parcels", "c24"),
    "repeated in test": ("the atm swallowed my chip at noon", "card_blocked", "c25"),
    "nearly in test": ("appeal against the refused claim is still with the policy desk", "refund_denied", "c26"),
    "group in both": ("pin rejected thrice at the till", "card_blocked", "customer-7"),
}
TEST = {
    "repeated in test": ("The ATM swallowed my chip, at noon", "card_blocked", "t1"),
    "nearly in test": ("appeal against the refused claim is still with the policy desk sir", "refund_denied", "t2"),
    "group in both": ("swipe did not go through again", "card_blocked", "customer-7"),
}


def plain(count: int, start: int) -> list[tuple[str, str, str]]:
    """Rows without a fault."""
    draw, names, made = random.Random(start), list(TOPICS), []
    for number in range(start, start + count):
        label = names[number % len(names)]
        words = [*draw.sample(TOPICS[label], 4), f"n{number}", f"k{number}", f"m{number}"]
        draw.shuffle(words)
        made.append((" ".join(words), label, f"p{number}"))
    return made


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """The document of the audit, and the row of each planted fault."""
    folder = tmp_path_factory.mktemp("planted")
    train = plain(300, 1000)
    rows = {name: len(train) + at for at, name in enumerate(TRAIN, start=1)}
    # more than half of all rows have one label: imbalance
    train += [*TRAIN.values(), *(row for row in plain(1600, 5000) if row[1] == "parcel")]
    test = [(f"mera paisa wapas nahi aaya {t}", label, g) for t, label, g in plain(60, 9000)]
    # a validation file, so that no planted row is split off from train
    for name, lines in (("train", train), ("validation", plain(60, 8000)), ("test", [*test, *TEST.values()])):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label", "customer"), *lines])
    (folder / "task.yaml").write_text(
        "kind: classification\ninstructions: Name the category.\ninput: '{text}'\ntarget: label\n"
        f"labels: {json.dumps(LABELS)}\ngroup: customer\n"
        "data: {train: train.csv, validation: validation.csv, test: test.csv}\n"
        f"model: {tiny_model}\ntrain: {{length: {LENGTH}}}\n",
        encoding="utf-8",
    )
    return audit(load_task(folder), 0, silent).document, rows


# check, what the finding or its evidence says, the planted rows that it names
NAMED = [
    ("few_rows", "rows to learn from: 2,000 and more are good", ()),
    ("few_rows", "rows to judge on", ()),
    ("few_rows", "labels have fewer than 10 rows", ()),
    ("few_rows", "unused: 0", ()),
    ("imbalance", "always answering 'parcel'", ()),
    ("labels", "'Refund Delayed' (1 rows): 'refund_delayed' is meant?", ("near-miss label",)),
    ("labels", "'complaint' (1 rows)", ("unlisted label",)),
    ("labels", "rows have no answer", ("no answer",)),
    ("labels", "'parcel' and 'parcels'", ()),
    ("label_tokens", "'refund_delayed' and 'refund_denied'", ()),
    ("empty", "blank input", ("blank input",)),
    ("lengths", "row {over-long}: ", ("over-long", "beyond the window")),
    ("lengths", "tokens a row", ()),
    ("window", "row {beyond the window}: ", ("beyond the window",)),
    ("repeated", "4 rows (", ()),
    ("repeated", "1 exactly, 3 after normalisation, the rest nearly", ()),
    ("repeated", "refund of my money is late since may (4 rows)", ("exact duplicate 2",)),
    ("split", "test: 0 rows repeat train exactly, 1 after normalisation", ("repeated in test",)),
    ("leakage", "the policy desk sir | appeal against", ()),
    ("conflicts", "card_blocked / parcel", ("conflict", "conflict 2")),
    ("mislabelled", "row {wrong label}: card_blocked → parcel?", ("wrong label",)),
    ("groups", "customer-7: train, test", ()),
    ("shift", "test rows are unlike training rows: a classifier tells them apart with AUC", ()),
    ("shift", "of the words in test never occur in train", ()),
    ("shift", "Hindi in Latin script: 0.0% of train, 95.2% of test", ()),
    ("personal", "card number: 1 rows", ("card number", "phone number", "e-mail")),
    ("personal", "phone number: 1 rows", ()),
    ("personal", "e-mail: 1 rows", ()),
    ("personal", "UPI id: 1 rows", ("UPI id",)),
    ("personal", "Aadhaar number: 1 rows", ("Aadhaar number",)),
    ("personal", "PAN: 1 rows", ("PAN",)),
    ("control", "control characters (C0, C1): 1 rows", ("control character",)),
    ("control", "zero-width characters: 1 rows", ("zero width",)),
    ("control", "writing-direction marks and overrides: 1 rows", ("bidi override",)),
    ("control", "mark turns: <|eot_id|> in 1", ("chat template",)),
]


@pytest.mark.parametrize(("check", "says", "planted"), NAMED, ids=[f"{check}: {says[:30]}" for check, says, _ in NAMED])
def test_every_planted_fault_is_named_with_its_row(audited, check, says, planted):
    document, rows = audited
    for name, row in rows.items():
        says = says.replace(f"{{{name}}}", str(row))
    found = [one for one in document["findings"] if one["check"] == check]
    texts = [" ".join([one["what"], *one["evidence"]]) for one in found]
    named = [one for one, text in zip(found, texts, strict=True) if says in text]
    assert named, texts
    ranked = {one["row"] for finding in named for one in finding["ranked"]}
    told = {row for finding in named for row in finding["rows"]} | ranked
    assert {rows[name] for name in planted} <= told


def test_every_finding_says_how_bad_how_many_why_and_what_to_do(audited):
    for one in audited[0]["findings"]:
        assert one["severity"] in ("stop", "warn", "note")
        assert one["count"] >= 0
        assert len(one["rows"]) <= 20
        assert all(one[field].strip() for field in ("what", "where", "why", "mend")), one


def test_rows_that_are_too_long_say_how_many_tokens_each_would_lose(audited):
    document, rows = audited
    (found,) = [one for one in document["findings"] if one["check"] == "lengths" and one["where"] == "train"]
    told = next(line for line in found["evidence"] if line.startswith(f"row {rows['over-long']}:"))
    whole, lost = (
        int(word) for word in told.split(": ")[1].replace(" tokens", "").replace(" left out", "").split(", ")
    )
    assert 0 < whole - lost <= LENGTH
    (window,) = [one for one in document["findings"] if one["check"] == "window"]
    assert f"window of {WINDOW} tokens" in window["what"]
    assert rows["over-long"] not in window["rows"]
