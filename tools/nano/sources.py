"""Reads the public data sets and the generated utterances that kasauti/nano is trained on.

Walks in: the folder of public data sets, the folder of generated files. Walks out: `Pool`s of labelled texts and chat
documents. Thirty CLINC150 intents are held out of everything, tokenizer included; Banking77 is never opened.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

GENERATED = Path(__file__).parent / "generated"
HELD_OUT_SEED = 150
"""Seed of the draw of the thirty held-out CLINC150 intents."""

MULTIDOGO_LABELS = {
    "orderpizzaintent": "order_pizza",
    "orderdrinkintent": "order_drink",
    "ordersaladintent": "order_salad",
    "orderburgerintent": "order_burger",
    "orderdessertintent": "order_dessert",
    "ordersideintent": "order_side_dish",
    "orderbreakfastintent": "order_breakfast",
    "startserviceintent": "start_service",
    "openinggreeting": "greeting",
    "closinggreeting": "goodbye",
    "thankyou": "thank_you",
    "confirmation": "confirmation",
    "rejection": "refusal",
    "changeseatassignment": "change_seat",
    "getboardingpass": "boarding_pass",
    "getseatinfo": "seat_information",
    "bookflight": "book_flight",
    "getproofofinsurance": "proof_of_insurance",
    "checkclaimstatus": "claim_status",
    "reportbrokenphone": "broken_phone",
    "reportlostcard": "lost_card",
    "updateaddress": "update_address",
    "checkbalance": "check_balance",
    "transfermoney": "transfer_money",
    "disputecharge": "dispute_charge",
    "replacecard": "replace_card",
    "closeaccount": "close_account",
    "getroutingnumber": "routing_number",
    "checkoffereligibility": "offer_eligibility",
    "orderchecks": "order_checks",
    "reportbrokensoftware": "broken_software",
    "softwareupdate": "software_update",
    "expensereport": "expense_report",
    "startorder": "start_order",
    "checkserverstatus": "server_status",
    "getinformationintent": "plan_information",
    "viewbillsintent": "view_bills",
}


@dataclass(frozen=True)
class Pool:
    """Texts of one domain by label, with a one-line description of a label where there is one."""

    name: str
    texts: dict[str, list[str]]
    descriptions: dict[str, str]


def held_out_intents(data: Path) -> list[str]:
    """The thirty CLINC150 intents that training never sees, drawn once by a fixed seed."""
    intents = sorted({intent for _, intent in _clinc(data)["train"]})
    return sorted(random.Random(HELD_OUT_SEED).sample(intents, 30))


def _clinc(data: Path) -> dict[str, list[list[str]]]:
    return json.loads((data / "clinc150/data_full.json").read_text("utf-8"))


def clinc_rows(data: Path, part: str) -> list[tuple[str, str]]:
    """Pairs (text, intent) of one part of CLINC150."""
    return [(text, intent) for text, intent in _clinc(data)[part]]


def clinc_pool(data: Path) -> Pool:
    """CLINC150's training part without the held-out intents."""
    hidden = set(held_out_intents(data))
    texts: dict[str, list[str]] = defaultdict(list)
    for text, intent in clinc_rows(data, "train"):
        if intent not in hidden:
            texts[intent].append(text)
    return Pool("clinc150", dict(texts), {})


def multidogo_rows(data: Path) -> list[dict[str, str]]:
    """All customers' turns, in the order of the file."""
    with gzip.open(data / "multidogo/utterances.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def multidogo_pools(rows: list[dict[str, str]]) -> list[Pool]:
    """One pool a domain; unspecific turns are kept as texts for the language model only."""
    domains: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        label = MULTIDOGO_LABELS.get(row["intent"])
        if label and len(row["text"].split()) >= 2:
            domains[row["domain"]][label].append(row["text"])
    return [
        Pool(f"multidogo-{domain}", {label: texts for label, texts in by_label.items() if len(texts) >= 20}, {})
        for domain, by_label in sorted(domains.items())
    ]


def bitext_rows(data: Path) -> list[dict[str, str]]:
    """Support questions with their written answers."""
    with (data / "bitext/support_responses.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def bitext_pool(rows: list[dict[str, str]]) -> Pool:
    """Questions by intent."""
    texts: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        texts[row["intent"]].append(row["instruction"])
    return Pool("bitext", dict(texts), {})


def generated_pools(folder: Path = GENERATED) -> list[Pool]:
    """The utterances written for this model: `#intent ||| description`, then one message a line."""
    pools = []
    for path in sorted(folder.glob("*.txt")):
        texts: dict[str, list[str]] = {}
        descriptions: dict[str, str] = {}
        label = ""
        for line in path.read_text("utf-8").splitlines():
            line = line.strip()
            if line.startswith("#"):
                label, _, description = (part.strip() for part in line[1:].partition("|||"))
                texts.setdefault(label, [])
                descriptions[label] = description
            elif line and label:
                texts[label].append(line)
        pools.append(Pool(path.stem, {k: v for k, v in texts.items() if v}, descriptions))
    return pools


def lexicon(folder: Path = GENERATED) -> dict[str, tuple[list[str], str]]:
    """English word or phrase → (Hinglish spellings, Devanagari)."""
    entries = {}
    for line in (folder / "lexicon.tsv").read_text("utf-8").splitlines():
        parts = line.split("\t")
        if len(parts) == 3 and parts[1].strip():
            entries[parts[0].strip().lower()] = (
                [v.strip() for v in parts[1].split("|") if v.strip()],
                parts[2].strip(),
            )
    return entries


def documents(
    data: Path, multidogo: list[dict[str, str]], bitext: list[dict[str, str]]
) -> dict[str, list[list[tuple[str, str]]]]:
    """Chat documents for language modelling, by source: lists of (role, text)."""
    support = [
        [("user", row["instruction"]), ("assistant", re.sub(r"\{\{(.*?)\}\}", r"\1", row["response"]))]
        for row in bitext
    ]
    maths = []
    with (data / "gsm8k/train.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            maths.append([("user", row["question"]), ("assistant", re.sub(r"<<.*?>>", "", row["answer"]))])
    conversations: dict[str, list[str]] = defaultdict(list)
    for row in multidogo:
        conversations[row["conversation"]].append(row["text"])
    turns = [[("user", "\n".join(texts))] for texts in conversations.values() if len(texts) > 2]
    return {"support": support, "maths": maths, "turns": turns}
