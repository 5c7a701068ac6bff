"""Personal data in the rows: cards, phones, e-mails, UPI ids, Aadhaar and PAN numbers.

Walks in: texts. Walks out: spans, masked texts, and findings with counts. It does not know whose data it is. Numbers
with a check digit are checked, so that an order number is not taken for a card.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from kasauti.core.types import Example, Finding, Severity, Split, Task
from kasauti.data.checks.evidence import SHOWN, row_numbers, share
from kasauti.data.conversation import content
from kasauti.data.split import parts_of

_PATTERNS = {
    "e-mail": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}(?![\w-])"),
    "UPI id": re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.-]{1,255}@[A-Za-z][A-Za-z0-9]{1,63}(?![\w@-]|\.\w)"),
    "card number": re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?!\w|[.,-]\d)"),
    "Aadhaar number": re.compile(r"(?<![\w.])[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}(?!\w|[.,-]\d)"),
    "phone number": re.compile(r"(?<![\w.])(?:(?:\+91|0091|91|0)[ -]?)?[6-9]\d{4}[ -]?\d{5}(?!\w|[.,-]\d)"
                               r"|(?<![\w.])\+(?!91)\d{1,3}(?:[ -]?\d){7,12}(?!\w|[.,-]\d)"),
    "PAN": re.compile(r"(?<!\w)[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z](?!\w)"),
}  # fmt: skip
"""Kind → shape, the surer one first: a span that an earlier kind took is not told again."""

_FOUR_DIGITS = re.compile(r"\d(?:[ -]?\d){3}")
"""Every kind has these or an @: most rows have neither, and need no look for each kind."""

# Verhoeff's check digit, used by Aadhaar: the dihedral group D5 and its permutation (J. Verhoeff, 1969)
_D5 = [[(i + j) % 5 if i < 5 and j < 5 else (i + j) % 5 + 5 if i < 5 else (i - j) % 5 + 5 if j < 5 else (i - j) % 5
        for j in range(10)] for i in range(10)]  # fmt: skip
_SHIFT = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others by Luhn's rule (ISO/IEC 7812-1)."""
    doubled = [int(d) * (2 if place % 2 else 1) for place, d in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def verhoeff(digits: str) -> bool:
    """Whether the last digit is the check digit of the others by Verhoeff's rule."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        for _ in range(place % 8):
            value = _SHIFT[value]
        check = _D5[check][value]
    return check == 0


def _digits(text: str) -> str:
    return "".join(sign for sign in text if sign.isdecimal())


def _is_card(text: str) -> bool:
    digits = _digits(text)
    return digits[0] in "23456" and luhn(digits) and len(set(digits)) > 1


_CHECKS: dict[str, Callable[[str], bool]] = {
    "card number": _is_card,
    "Aadhaar number": lambda text: verhoeff(_digits(text)),
}


def personal_spans(text: str) -> list[tuple[str, int, int]]:
    """`(kind, start, end)` of everything in a text that looks personal; in order, none overlapping."""
    found: list[tuple[str, int, int]] = []
    if "@" not in text and not _FOUR_DIGITS.search(text):
        return found
    for kind, pattern in _PATTERNS.items():
        for match in pattern.finditer(text):
            start, end = match.span()
            checked = kind not in _CHECKS or _CHECKS[kind](match.group())
            if checked and all(end <= s or start >= e for _, s, e in found):
                found.append((kind, start, end))
    return sorted(found, key=lambda span: span[1])


def mask_personal(text: str) -> str:
    """The text with each personal span replaced by its kind, such as `<card number>`."""
    for kind, start, end in reversed(personal_spans(text)):
        text = f"{text[:start]}<{kind}>{text[end:]}"
    return text


def personal(task: Task, split: Split) -> list[Finding]:
    """Rows with personal data in their input or answer, counted by kind; what is quoted is masked."""
    findings = []
    for part, examples in parts_of(split).items():
        counts: Counter[str] = Counter()
        rows: list[Example] = []
        for example in examples:
            kinds = {kind for kind, _, _ in personal_spans(f"{content(example)}\n{example.answer or ''}")}
            counts.update(kinds)
            if kinds:
                rows.append(example)
        if rows:
            by_kind = [f"{kind}: {number} rows" for kind, number in counts.most_common()]
            masked = (" ".join(mask_personal(content(example)).split())[:120] for example in rows)
            findings.append(
                Finding(
                    check="personal",
                    severity=Severity.WARN,
                    what=f"{len(rows)} rows ({share(len(rows), len(examples))}) hold personal data: "
                    f"{', '.join(by_kind)}",
                    where=part,
                    count=len(rows),
                    rows=row_numbers(rows),
                    evidence=[text for text, _ in zip(masked, range(SHOWN), strict=False)],
                    why="A tuned model can repeat what it learnt, and the law asks for a reason to keep such data.",
                    mend="Mask it before training, in the same way as production input will be masked.",
                )
            )
    return findings
