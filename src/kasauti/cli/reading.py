"""`kasauti audit --read`: the page of the audit, served on this machine, with rows to decide.

Walks in: an audit. Walks out: decisions on disk, made while it is read; their number when it ends. It does not know how
a row is decided, or what the page looks like.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kasauti.approaches.workbench import Workbench
from kasauti.cli.taught import Audit, token_viewer
from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.types import Example, Finding, Split, Task
from kasauti.data.audit import CHECKS
from kasauti.data.checks.mislabelled import Ranking, rank_mislabelled, told
from kasauti.data.decisions import apply_decisions, keys_of, standing
from kasauti.data.reading import LEARNT, Place, pointed_at, random_rows
from kasauti.data.split import parts_of
from kasauti.data.versions import hash_test_rows, looks, record_look
from kasauti.pages.reading import TEST, Desk, Reading, Row
from kasauti.pages.reading_app import Looks, make_app

HOST = "127.0.0.1"
SUSPECTS = 200
"""The most suspect rows that are laid out; the list is read from the top, and shrinks as it is decided."""


def serve(
    args: argparse.Namespace, task: Task, done: Audit, rankings: Sequence[Ranking], listening: socket.socket
) -> dict[str, int]:
    """Serve the page until it is interrupted; how much is decided then."""
    import uvicorn

    desk = lay_out(task, done, args.samples, rankings)
    token = secrets.token_urlsafe(16)
    app = make_app(desk, look_counter(task, done), token)
    _tell(args, f"http://{HOST}:{listening.getsockname()[1]}/?token={token}")
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    )
    with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
        server.run(sockets=[listening])
    decided = standing(task.folder)
    counts = Counter(made.choice.value for made in decided.values())
    left = sum(row.key not in decided for row in desk.readings["random"].rows)
    return {**{name: counts[name] for name in ("accept", "relabel", "drop")}, "left": left}


@contextlib.contextmanager
def listen(port: int | None) -> Iterator[socket.socket]:
    """A socket that listens before the audit begins, so that a port that is taken is told at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port or 0))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "a port is a number from 1 to 65535"
            mend = "Give another, or leave --port out to get a free one."
            raise UsageError(f"--port {port} cannot be used: {reason}", mend=mend) from None
        yield listening


def _tell(args: argparse.Namespace, address: str) -> None:
    text = f"Read and decide: {address}\nEvery decision is kept as it is made. Ctrl C ends the page.\n"
    if args.json:
        sys.stderr.write(text)
        sys.stderr.flush()
    else:
        args.outlet.write(text)


def remembering(task: Task, rankings: list[Ranking]) -> Mapping[str, Any]:
    """The checks; the ranking of suspects, which takes the longest of all, is put into `rankings` for the page."""

    def mislabelled(_: Task, split: Split) -> list[Finding]:
        if task.kind != "classification":
            return []
        rankings.append(rank_mislabelled([*split.train, *split.validation], task.seed))
        return told(rankings[0])

    return {**CHECKS, "mislabelled": mislabelled}


def lay_out(task: Task, done: Audit, samples: int, rankings: Iterable[Ranking]) -> Desk:
    """The lists of rows that the reader can open: random ones first."""
    rows = done.divided.rows
    key_of = {id(row): key for row, key in zip(rows, keys_of(rows), strict=True)}
    # reviewed calls, which stand in no file, have been read
    parts = {name: [row for row in part if id(row) in key_of] for name, part in parts_of(done.divided.filed).items()}

    def listed(places: Iterable[Place]) -> list[Row]:
        return [Row(key=key_of[id(row)], part=part, example=row) for part, row in places]

    learnt = {part: parts[part] for part in LEARNT}
    question = "Is each of these answers the one you would give?"
    drawn = listed(random_rows(learnt, samples, task.seed))
    readings = {"random": Reading(title=question, link=f"{len(drawn)} random rows", rows=drawn)}
    pointed: dict[int, str] = {}
    part_of = {id(row): part for part, examples in parts.items() for row in examples}
    for ranking in rankings:
        suspects = ranking.listed[:SUSPECTS]
        found = listed((part_of[id(suspect.example)], suspect.example) for suspect in suspects)
        found = [replace(row, suggested=s.suggested) for row, s in zip(found, suspects, strict=True)]
        title = f"The other rows speak against these {len(found)} labels, most strongly against the first"
        readings["suspects"] = Reading(title=title, link="likely mislabelled", rows=found)
    decided = standing(task.folder)
    touched = [(part, row) for part in parts for row in parts[part] if key_of[id(row)] in decided]
    for place, finding in enumerate(done.findings):
        name, link = _list_of(finding, place)
        if name not in readings:
            found = listed(touched if name == "decided" else pointed_at(finding, parts) if finding.rows else ())
            readings[name] = Reading(title=finding.what, link=link, rows=found)
        if readings[name].rows:
            pointed[place] = name
    readings = {name: reading for name, reading in readings.items() if name == "random" or reading.rows}
    test = listed(random_rows({TEST: parts[TEST]}, samples, task.seed))
    readings[TEST] = Reading(title=question, link="test rows", rows=test)
    return Desk(
        task=task, findings=done.findings, context=done.context, readings=readings, pointed=pointed, view=_viewer(task)
    )


def _list_of(finding: Finding, place: int) -> tuple[str, str]:
    """Name of the list of a finding's rows, and the words of the menu for it."""
    if finding.check == "mislabelled":
        return "suspects", "likely mislabelled"
    if finding.check == "decisions":
        return "decided", "decided before"
    return f"finding-{place}", f"{finding.check}, {finding.where}" if finding.where else finding.check


def _viewer(task: Task) -> Callable[[Example], str]:
    """Row → its tokens, made when first asked for; empty where there are none, as for a row without an answer."""
    made: dict[int, str] = {}
    bench = Workbench(task)
    draw: Callable[[Example], str] | None = None
    with contextlib.suppress(KasautiError):  # a finding says that the model cannot be used
        draw = token_viewer(task, bench.frozen, bench.tokenizer, bench.recipe.length)

    def view(row: Example) -> str:
        if id(row) not in made:
            made[id(row)] = ""
            if draw is not None and row.answer:
                with contextlib.suppress(KasautiError):  # a finding names the row
                    made[id(row)] = draw(row)
        return made[id(row)]

    return view


def look_counter(task: Task, done: Audit) -> Looks:
    """Counts looks at the test rows as they are with everything that is decided by then. A day of reading is one look,
    however often the page is opened."""
    test, rows = done.divided.filed.test, done.divided.rows
    key_of = {id(row): key for row, key in zip(rows, keys_of(rows), strict=True)}
    keys = [key_of[id(row)] for row in test]
    what = f"audit --read, {datetime.now(UTC).date().isoformat()}"

    def now() -> str:
        return hash_test_rows(apply_decisions(task, test, standing(task.folder), keys).of(test))

    def count() -> int:
        return record_look(task.folder, now(), what)

    if not standing(task.folder).keys().isdisjoint(keys):
        count()  # corrected test rows are another test set, which was looked at while it was corrected
    return Looks(lambda: looks(task.folder, now()), count)
