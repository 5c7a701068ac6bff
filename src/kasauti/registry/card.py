"""A version's card in words, as model folders have it: `README.md` with what the Hub reads at its head.

Walks in: the facts of `card.json`, the verdict. Walks out: Markdown behind YAML. It does not know files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WHAT = {
    "majority": "It gives the most common label of the training rows to every input. It reads nothing.",
    "classical": "A linear classifier over TF-IDF of words and characters. It needs no GPU and no language model.",
    "classical_embedding": "A linear classifier over sentence embeddings; it needs the task's embedding model.",
    "prompt": "An untrained language model, asked with a prompt; the answer is the most probable of the task's labels.",
    "retrieval": "A language model, asked with worked examples that are looked up for each input.",
    "grounded": "A language model, shown the parts of the task's documents that the question is about; it names them.",
    "tuned": "A language model with an adapter trained on the rows; the answer is the most probable of the labels.",
    "cascade": "A cheap approach answers where its confidence is over a threshold, a dearer one answers the rest.",
}
"""By approach, else by family."""


def card_text(card: Mapping[str, Any], verdict: Mapping[str, Any], proof: Mapping[str, Any] | None = None) -> str:
    """The card as Markdown: what it is, what it was made from, how good it was, when to believe it.

    Args:
        proof: of a merged model, what `proof.json` says; None for the version itself.
    """
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
            ("Licence of the base model", str(model.get("licence", "unknown"))),
            ("Base model's hash", f"`{model.get('sha256', '')}`"),
            ("Chat template's hash", f"`{model['template_sha256']}`"),
        ]
    return "\n".join(
        [
            *_head(card, merged=proof is not None),
            f"# {card['task']}, version {card['version']}",
            "",
            WHAT.get(card["approach"]) or WHAT.get(card["family"], card["title"]),
            "",
            *_table(("", ""), facts),
            "",
            *(_merged(proof) if proof else []),
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


def _head(card: Mapping[str, Any], *, merged: bool) -> list[str]:
    """The YAML that the Hub and its tools read (huggingface.co/docs/hub/model-cards)."""
    import yaml

    model, found, tuned = card["model"], card["evaluation"], card["family"] == "tuned"
    exact = found.get("metric", "exact_match") == "exact_match"
    kind, name = ("accuracy", "accuracy (exact match)") if exact else (found["metric"], found["metric"])
    metrics = [{"type": kind, "name": name, "value": round(found["accuracy"]["value"], 6)}]
    if found["macro_f1"] is not None:  # texts have none
        metrics.append({"type": "f1", "name": "macro-F1", "value": round(found["macro_f1"], 6)})
    test = {"name": card["task"], "type": _slug(card["task"]), "split": "test", "revision": card["data"]["test_sha256"]}
    result = {"task": {"type": "text-classification"}, "dataset": test, "metrics": metrics}
    head: dict[str, Any] = {"tags": ["kasauti", "classification", card["approach"]]}
    if card["family"] in ("prompt", "retrieval", "tuned", "cascade") and model.get("template_sha256"):
        head["license"] = model.get("licence", "unknown")
        if model["id"].count("/") == 1 and not model["id"].startswith((".", "/", "~")):
            head["base_model"] = model["id"]
    if tuned:
        head |= {"library_name": "transformers" if merged else "peft", "pipeline_tag": "text-generation"}
    head["model-index"] = [{"name": f"{_slug(card['task'])}-{card['version']}", "results": [result]}]
    return ["---", *yaml.safe_dump(head, sort_keys=False, allow_unicode=True).splitlines(), "---", ""]


def _merged(proof: Mapping[str, Any]) -> list[str]:
    """What the merged model was proved by."""
    return [
        "## Merged",
        "",
        f"The adapter is part of these weights. Loaded from disk, they were asked for the {proof['rows']} validation "
        f"rows as the adapter was: the labels agree on {_percent(proof['label_agreement'])}, the largest change of a "
        f"probability is {proof['largest_probability_drift']:.2g}, that of the log loss "
        f"{proof['log_loss']['difference']:.2g} nats (`proof.json`). The figures below were measured with the adapter.",
        "",
    ]


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split()) or "task"


def _figures(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    ece, f1, latency = found.get("ece"), found.get("macro_f1_interval"), found.get("latency_ms") or {}
    metric = found.get("metric", "exact_match")
    name = "accuracy (exact match)" if metric == "exact_match" else metric
    rows = [(name, _percent(found["accuracy"]["value"]), _interval(found["accuracy"]))]
    if found["macro_f1"] is not None:
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
