"""A version's card in words.

Walks in: the facts of `card.json`, the verdict. Walks out: Markdown. It does not know files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WHAT = {
    "majority": "It gives the most common label of the training rows to every input. It reads nothing.",
    "classical": "A linear classifier over TF-IDF of words and characters. It needs no GPU and no language model.",
    "prompt": "An untrained language model, asked with a prompt; the answer is the most probable of the task's labels.",
    "retrieval": "A language model, asked with worked examples that are looked up for each input.",
    "tuned": "A language model with an adapter trained on the rows; the answer is the most probable of the labels.",
}


def card_text(card: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    """The card as Markdown: what it is, what it was made from, how good it was, when to believe it."""
    data, model = card["data"], card["model"]
    rows = data["rows"]
    facts = [
        ("Approach", f"{card['title']} (`{card['approach']}`)"),
        ("Registered", card["created"]),
        ("Trained and judged", card["judged"]),
        ("Data version", f"`{data['version']}`"),
        (
            "Rows",
            f"{rows['train']} to learn from, {rows['validation']} to choose and calibrate, {rows['test']} to judge",
        ),
        ("Looks at the test rows", str(data["test_looks"])),
        ("Trial", f"`{card['trial']}`"),
        ("Replaces", f"version {card['parent']}" if card["parent"] else "nothing: it is the first"),
    ]
    if model.get("template_sha256"):
        facts += [
            ("Base model", f"{model['id']}, {model['parameters']:,} parameters"),
            ("Base model's hash", f"`{model.get('sha256', '')}`"),
            ("Chat template's hash", f"`{model['template_sha256']}`"),
        ]
    return "\n".join(
        [
            f"# {card['task']}, version {card['version']}",
            "",
            WHAT.get(card["family"], card["title"]),
            "",
            *_table(("", ""), facts),
            "",
            "## Evaluation",
            "",
            f"On {rows['test']} held-out test rows, judged once; intervals are 95%.",
            "",
            *_table(("figure", "value", "interval"), _figures(card["evaluation"])),
            "",
            "## Which answers are accepted",
            "",
            _threshold(card["threshold"]),
            "",
            "## Sets of labels",
            "",
            _sets(card["conformal"]),
            "",
            "## Why it was shipped",
            "",
            *(f"- {sentence}" for sentence in verdict["because"]),
            *(["", "What would change that:", "", *(f"- {s}" for s in verdict["needs"])] if verdict["needs"] else []),
            "",
        ]
    )


def _figures(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    ece, f1, latency = found.get("ece"), found.get("macro_f1_interval"), found.get("latency_ms") or {}
    rows = [("accuracy (exact match)", _percent(found["accuracy"]["value"]), _interval(found["accuracy"]))]
    rows.append(("macro-F1", _percent(found["macro_f1"]), _interval(f1)))
    rows.append(("invalid answers", _percent(found["invalid_rate"]), ""))
    if ece:
        rows.append(("expected calibration error", _percent(ece["value"]), _interval(ece)))
    if found.get("log_loss") is not None:
        rows.append(("log loss (nats)", f"{found['log_loss']:.3f}", ""))
    if latency.get("p95") is not None:
        rows.append(("latency, 95th percentile", f"{latency['p95']:.1f} ms", ""))
    rows.append(("cost per 1,000 calls", f"{found['cost_per_1k_calls']:.4g}", ""))
    return rows


def _threshold(threshold: Mapping[str, Any] | None) -> str:
    if threshold is None:
        return "None: the approach states no confidence, so a person reads every answer."
    if threshold["value"] is None:
        return (
            f"None, though {_percent(threshold['wanted'])} right was wanted: {threshold['promise']}. "
            "A person reads every answer."
        )
    tested, promise = threshold["test"], threshold["promise"]
    right = tested["accuracy"]
    came = f"{_percent(right['value'])} of them right ({_interval(right)})" if right else "none of them"
    return (
        f"Those with a confidence of at least {threshold['value']:.4f}: {promise}. On the test rows that was "
        f"{_percent(tested['coverage']['value'])} of the answers ({_interval(tested['coverage'])}), {came}."
    )


def _sets(sets: Mapping[str, Any] | None) -> str:
    if sets is None:
        return "None: the approach gives no probabilities."
    return (
        f"`kasauti predict --sets` gives the labels that hold the true one in {_percent(sets['promised'])} of new rows "
        f"like the {sets['rows']} validation rows. On the test rows they did in {_percent(sets['coverage']['value'])} "
        f"({_interval(sets['coverage'])}), with {sets['size']['value']:.2f} labels in a set "
        f"({sets['size']['low']:.2f} to {sets['size']['high']:.2f})."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _interval(found: Mapping[str, float] | None) -> str:
    return f"{_percent(found['low'])} to {_percent(found['high'])}" if found else ""


def _table(head: tuple[str, ...], rows: list[Any]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return [f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines]
