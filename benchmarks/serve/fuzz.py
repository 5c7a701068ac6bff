"""Whether the service is as its OpenAPI document says, whatever it is sent: schemathesis on a real server process.

Walks in: how many requests. Walks out: one JSON line, and `benchmarks/results/fuzz.json` with the machine it was run
on. It does not know what is served; the demo's task is, with the version that the trial of it shipped.

Requests are drawn from the document: those that it allows, and those that it does not. Every answer is held to it:
no status of 500 and more, no status, content type or body that it does not name, no refusal of what it allows, no
answer to what it does not. One rule is left out, for conversations: that the last turn is the user's and that a system
turn comes first cannot be said in a schema, so a conversation that the document allows may be refused.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from kasauti.core.files import write_json

CASES = 5000
ASKING = ("/classify", "/v1/chat/completions")
FEW = 20
"""Requests to each path that reads no body."""
SHOWN = 20
REFUSED = ["400", "401", "403", "404", "413", "415", "422"]
"""Statuses with which what the document does not allow is refused."""


def fuzz(address: str, cases: int, seed: int = 42, *, key: str | None = None) -> dict[str, Any]:
    """Send requests to a service that is ready; count, and keep what was not as the document says.

    Args:
        cases: requests, at least; a path's parameters may allow fewer than are wanted of it.
        key: of the role operator, where keys are needed.
    """
    import requests
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.config import SchemathesisConfig

    known = {"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    document = f"{address}/openapi.json"
    schema = schemathesis.openapi.from_url(document, headers=headers, config=SchemathesisConfig.from_dict(known))
    operations: list[Any] = [cast("Any", one).ok() for one in schema.get_all_operations()]
    found = _Found()
    with requests.Session() as session:
        session.headers.update(headers)
        for one in operations:
            if one.path not in ASKING:
                _send(one.as_strategy(), min(FEW, cases), seed, session, found)
        asking = [one for one in operations if one.path in ASKING]
        each = -(-max(0, cases - found.cases) // (2 * len(asking)))
        for one in asking:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _send(one.as_strategy(mode), each, seed, session, found)
    return {
        "cases": found.cases,
        "statuses": {path: dict(sorted(counts.items())) for path, counts in sorted(found.statuses.items())},
        "server_errors": sum(n for counts in found.statuses.values() for code, n in counts.items() if code >= 500),
        "violations": found.violations,
        "first_violations": found.first,
    }


class _Found:
    def __init__(self) -> None:
        self.cases = self.violations = 0
        self.statuses: dict[str, Counter[int]] = {}
        self.first: list[str] = []


def _send(strategy: Any, cases: int, seed: int, session: Any, found: _Found) -> None:
    """So many requests of one path, all of them: what is wrong with one is kept, and the next is sent."""
    import hypothesis
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    undecided = CHECKS.get_one("positive_data_acceptance")

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
        print_blob=False,
    )
    @hypothesis.given(case=strategy)
    def send(case: Any) -> None:
        answer = case.call(session=session)
        found.cases += 1
        found.statuses.setdefault(case.operation.path, Counter())[answer.status_code] += 1
        excluded = [undecided] if case.operation.path == "/v1/chat/completions" else []
        try:
            case.validate_response(answer, excluded_checks=excluded)
        except (Exception, BaseExceptionGroup) as error:
            found.violations += 1
            if len(found.first) < SHOWN:
                told = error.exceptions if isinstance(error, BaseExceptionGroup) else [error]
                found.first.append(f"{case.method} {case.operation.path}: {'; '.join(map(str, told))[:600]}")

    send()


@contextmanager
def demo(folder: str | None, approach: str) -> Iterator[Path]:
    """A folder of the demo's task with a version: the one given, or a new one with a version of this approach."""
    from kasauti.cli.demo import copy_task
    from kasauti.core.task import load_task
    from kasauti.decide.trial import run_trial
    from kasauti.registry.register import register

    if folder:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as made:
        copy_task(Path(made))
        task = load_task(made)
        register(task, run_trial(task, [approach]))
        yield Path(made)


def main(arguments: list[str] | None = None) -> int:
    """Run, print, keep; 1 where anything was not as the document says."""
    from run import RESULTS, machine
    from serve.durable import Service

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=CASES, help=f"requests (default: {CASES})")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--task", help="folder of a task with a version (default: the demo's, made anew)")
    parser.add_argument("--approach", default="classical", help="of the version that is made (default: classical)")
    given = parser.parse_args(arguments)
    with demo(given.task, given.approach) as folder:
        service = Service(folder, "--calls", "none").ready()
        try:
            found = fuzz(f"http://127.0.0.1:{service.port}", given.cases, given.seed)
            alive = service.get("/readyz")[0] == 200
        finally:
            service.kill()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    found = {"at": at, "machine": machine(), "load": round(os.getloadavg()[0], 1), "alive_after": alive, **found}
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "fuzz.json", found)
    print(json.dumps(found))
    return int(bool(found["violations"] or found["server_errors"] or not alive))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
