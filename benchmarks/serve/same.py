"""Whether a service answers as the trial did: answer, confidence and prompt of every validation row.

Walks in: a task folder with a version. Walks out: one JSON line, and `benchmarks/results/same.json` with the machine it
was run on. It does not know how anything is answered.

The version is opened as the trial's approach was saved, and asked for all validation rows at once; then a real
`kasauti serve` is asked for each row alone and in batches, by `/classify` and in the OpenAI protocol. Prompts are
compared as token ids: those that the bytes of a request lead to, and those that the row of the data leads to.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kasauti.core.files import write_json
from kasauti.core.types import Example, fill

BATCH = 64
CLOSE = 1e-6
"""An answer has six decimals of its confidence."""


def compare(folder: Path, port: int) -> dict[str, Any]:
    """Every validation row, in three ways."""
    from kasauti.core.task import load_task
    from kasauti.data.split import load_split
    from kasauti.registry.versions import Registry
    from kasauti.serve.asked import parse, row_of_conversation, rows_of

    task = load_task(folder)
    rows = load_split(task)[0].validation
    registry = Registry(task)
    champion = registry.champion()
    if champion is None:
        raise SystemExit("the task has no version")
    approach, _ = registry.open(champion.number)
    given = approach.predict(rows)
    ours = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    ways = {
        "alone": [_ask(ours, "/classify", dict(row.fields)) for row in rows],
        "batch": [
            one
            for at in range(0, len(rows), BATCH)
            for one in _ask(ours, "/classify", {"inputs": [dict(r.fields) for r in rows[at : at + BATCH]]})["outputs"]
        ],
        "openai": [_flat(_ask(ours, "/v1/chat/completions", _turns(row))) for row in rows],
    }
    ours.close()
    told: dict[str, Any] = {
        name: {
            "same_answers": sum(one["category"] == p.answer for one, p in zip(found, given, strict=True)),
            "same_confidence": sum(
                _close(one["confidence"], p.confidence) for one, p in zip(found, given, strict=True)
            ),
            "largest_difference": max(
                (abs(one["confidence"] - (p.confidence or 0)) for one, p in zip(found, given, strict=True)
                 if one["confidence"] is not None), default=None,
            ),
        }
        for name, found in ways.items()
    }  # fmt: skip
    asker = getattr(approach, "asker", None)
    if asker is not None:
        wanted = asker.prompts(rows)
        sent = [rows_of(task, parse(json.dumps(dict(row.fields)).encode()))[0][0].row for row in rows]
        turned = [row_of_conversation(task, parse(json.dumps(_turns(row)).encode())["messages"]) for row in rows]
        told["same_prompts"] = {"classify": asker.prompts(sent) == wanted, "openai": asker.prompts(turned) == wanted}
    return {"approach": approach.name, "rows": len(rows), **told}


def _turns(row: Example) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": fill(row.template, row.fields)}]}


def _flat(answer: dict[str, Any]) -> dict[str, Any]:
    return {"category": answer["choices"][0]["message"]["content"], "confidence": answer["kasauti"]["confidence"]}


def _close(one: float | None, other: float | None) -> bool:
    return one is other is None or (one is not None and other is not None and abs(one - other) <= CLOSE)


def _ask(ours: http.client.HTTPConnection, path: str, body: dict[str, Any]) -> Any:
    ours.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    reply = ours.getresponse()
    content = json.loads(reply.read())
    if reply.status != 200:
        raise SystemExit(f"{path}: {reply.status} {content['detail']}")
    return content


def main(arguments: list[str] | None = None) -> int:
    """Run, print, keep; 1 where anything differs."""
    from run import RESULTS, machine
    from serve.durable import Service
    from serve.fuzz import demo

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", help="folder of a task with a version (default: the demo's, made anew)")
    parser.add_argument("--approach", default="classical", help="of the version that is made (default: classical)")
    given = parser.parse_args(arguments)
    with demo(given.task, given.approach) as folder:
        service = Service(folder, "--calls", "none").ready()
        try:
            found = compare(folder, service.port)
        finally:
            service.kill()
    file = RESULTS / "same.json"
    kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
    at = datetime.now(UTC).isoformat(timespec="seconds")
    RESULTS.mkdir(exist_ok=True)
    write_json(file, {**kept, found["approach"]: {"at": at, "machine": machine(), **found}})
    print(json.dumps(found))
    ways = [one for one in found.values() if isinstance(one, dict) and "same_answers" in one]
    same = all(one["same_answers"] == one["same_confidence"] == found["rows"] for one in ways)
    return int(not (same and all(found.get("same_prompts", {"": True}).values())))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
