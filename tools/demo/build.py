"""Assembles the bundled task from its written complaints: `python tools/demo/build.py SOURCES...` is not needed to
use it.

Walks in: tab-separated files of label and complaint, written one by one. Walks out: `complaints.csv`,
`production.csv`, and `mislabelled.csv`, the rows whose label was changed on purpose. It refuses a pair of complaints
at word-Jaccard 0.7 or more.
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

from kasauti.data.duplicates import near_duplicates

SEED = 2026
WRONG_SHARE = 0.03
CONFUSED = {
    "refund_not_received": ["refund_delayed", "product_not_delivered", "merchant_dispute"],
    "refund_delayed": ["refund_not_received", "other"],
    "payment_failed_technical": ["payment_failed_bank_error", "duplicate_charge"],
    "payment_failed_bank_error": ["payment_failed_technical", "payment_failed_insufficient_funds"],
    "payment_failed_insufficient_funds": ["payment_failed_bank_error", "wrong_amount_charged"],
    "duplicate_charge": ["wrong_amount_charged", "refund_not_received"],
    "wrong_amount_charged": ["duplicate_charge", "merchant_dispute"],
    "subscription_cancelled_still_charged": ["fraud_unauthorised", "refund_not_received"],
    "merchant_dispute": ["product_not_delivered", "refund_not_received"],
    "fraud_unauthorised": ["duplicate_charge", "subscription_cancelled_still_charged"],
    "product_not_delivered": ["merchant_dispute", "refund_not_received"],
    "other": ["payment_failed_technical", "merchant_dispute"],
}
"""What a tired annotator takes a category for."""


def read(paths: list[Path]) -> list[tuple[str, str]]:
    """Pairs (complaint, label)."""
    rows = []
    for path in sorted(paths):
        for line in path.read_text("utf-8").splitlines():
            if line.strip():
                label, _, text = line.partition("\t")
                rows.append((" ".join(text.split()), label.strip()))
    return rows


def plant(rows: list[tuple[str, str]], rng: random.Random) -> tuple[list[tuple[str, str]], list[tuple[int, str, str]]]:
    """The rows with about 3% of the labels changed, and (row number, given, true) of those."""
    chosen = sorted(rng.sample(range(len(rows)), round(WRONG_SHARE * len(rows))))
    wrong = []
    for at in chosen:
        text, label = rows[at]
        given = rng.choice(CONFUSED[label])
        rows[at] = (text, given)
        wrong.append((at + 1, given, label))
    return rows, wrong


def write(path: Path, header: list[str], rows: list[tuple[object, ...]]) -> None:
    """A CSV file in UTF-8."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rng = random.Random(SEED)
    train, test = read(options.train), read(options.test)
    texts = [text for text, _ in train + test]
    for i, j, similarity in near_duplicates(texts, 0.7):
        raise SystemExit(f"too alike ({similarity:.2f}):\n  {texts[i]}\n  {texts[j]}")
    rng.shuffle(train)
    rng.shuffle(test)
    train, wrong = plant(train, rng)
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out / "complaints.csv", ["complaint", "category"], train)
    write(options.out / "production.csv", ["complaint", "category"], test)
    write(options.out / "mislabelled.csv", ["row", "category", "true_category"], wrong)
    print(f"{len(train)} training complaints, {len(wrong)} of them mislabelled on purpose; {len(test)} test complaints")


if __name__ == "__main__":
    main()
