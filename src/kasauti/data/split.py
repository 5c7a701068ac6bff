"""The data, divided once: train, two halves of validation, test.

Walks in: the rows of the task's files. Walks out: a `Split`, and findings about what had to be taken out to keep the
test rows unseen. It does not know tokens or models. Rows with the same normalised text, or of the same group, are in
one part.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from kasauti.core.errors import DataError
from kasauti.core.types import Example, Finding, Severity, Split, Task
from kasauti.data.conversation import PARTS, check_answer, check_labels_used, content, load_examples
from kasauti.data.decisions import Applied, apply_decisions, findings_of, log_path, standing
from kasauti.data.duplicates import merge, near_groups, normalise
from kasauti.data.log import record_version
from kasauti.data.production import Production, production_rows, rows_path
from kasauti.data.read import ReadLog
from kasauti.data.stratified import Cluster, take
from kasauti.data.versions import data_version, fingerprint, hash_test_rows

TEST_SHARE = 0.2
"""Of the rows, where no test file is given."""
VALIDATION_SHARE = 0.1
"""Of the rows that are left, where no validation file is given."""
NEAR = 0.8
"""Word-set Jaccard from which two rows are kept in one part when parts are split off."""
MIN_ROWS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Divided:
    """The rows of the task's files, divided."""

    filed: Split
    """As they stand in the files."""
    decided: Split
    """The same division, with what a person decided about single rows applied: what everything else works on."""
    findings: Sequence[Finding]
    rows: Sequence[Example]
    """All rows as they stand in the files, in their order; those that are in no part too."""
    production: Production = field(default_factory=Production)
    """Reviewed calls: those to learn from are in `train` of both splits, those to judge on stand beside them."""


def load_split(task: Task, *, strict: bool = True, record: str | None = None) -> tuple[Split, list[Finding]]:
    """Load the task's files and divide them with the task's seed; near-duplicates are kept in one part.

    Args:
        task: names the files, the group and the seed, and says whether bad rows are left out; then a finding counts
            them.
        strict: refuse rows with faults; False is for the audit, which shows them all.
        record: the command that needs the rows for real work; the version of the data is then recorded with its rows.

    Raises:
        DataError: a file or a row is at fault, a label has no row, or there are too few rows.
    """
    divided = divide(task, strict=strict, record=record)
    return divided.decided, list(divided.findings)


def divide(task: Task, *, strict: bool = True, record: str | None = None) -> Divided:
    """`load_split`, with the rows as they stand in the files beside those that were decided on.

    The rows are divided as they stand in the files, so that no decision ever moves another row into or out of the test
    part; what was decided is applied to the parts.
    """
    decisions = standing(task.folder)
    logs = {part: ReadLog(task.data.skip_bad) for part in PARTS}
    # a row at fault may be one that was relabelled or dropped: the rows are judged as they go on
    checked = strict and not decisions
    parts = [load_examples(task, part, strict=checked, log=log) for part, log in logs.items()]
    applied = apply_decisions(task, [row for part in parts for row in part], decisions)
    if strict and decisions:
        parts = [_valid(task, rows, applied, log) for rows, log in zip(parts, logs.values(), strict=True)]
    train, validation, test = parts
    everything = (*train, *validation, *test)
    near: list[list[str]] = []
    if not (validation and test):
        near = [[train[i].id for i in group] for group in near_groups([content(e) for e in train], NEAR)]
    filed, findings = make_split(task, train, validation, test, task.seed, clusters=near)
    calls = production_rows(task, filed) if rows_path(task.folder).exists() else Production()
    if strict:
        check_labels_used(task, (*applied.of(everything), *calls.train, *calls.test))
    if calls.train:
        filed = _with_calls(task, filed, everything, calls)
    findings = [*(one for part, log in logs.items() for one in log.findings(part)), *findings, *findings_of(applied)]
    try:
        decided = _decided(task, filed, (*everything, *calls.train), applied) if applied.met else filed
    except DataError as error:
        if strict:
            raise
        decided = filed  # so that the page on which it is undone can be opened
        findings.append(_not_applied(error))
    if record is not None:
        taken = decided is not filed
        given = {
            part: applied.of(rows) if taken else rows
            for part, rows in zip(PARTS, (train, validation, test), strict=True)
        }
        given |= {"production": calls.train} if calls.train else {}
        record_version(task.folder, decided.data_version, given, record)
    return Divided(filed=filed, decided=decided, findings=findings, rows=everything, production=calls)


def _with_calls(task: Task, filed: Split, everything: Sequence[Example], calls: Production) -> Split:
    """Reviewed calls join the rows to learn from after the division, so that they move no other row."""
    names = ("train", "validation_choose", "validation_calibrate", "test")
    parts = {name: list(getattr(filed, name)) for name in names}
    parts["train"] += calls.train
    return _sealed(parts, data_version((*everything, *calls.train)), task.seed)


def _valid(task: Task, rows: Sequence[Example], applied: Applied, log: ReadLog) -> tuple[Example, ...]:
    """The rows whose answer, as it goes on, is one; the log takes the others."""
    kept = []
    for row in rows:
        try:
            for after in applied.of([row]):
                check_answer(task, after.answer or "", f"{row.source}, row {row.row}")
        except DataError as error:
            log.fault(row.row, error)
            continue
        kept.append(row)
    return tuple(kept)


def _decided(task: Task, filed: Split, everything: Sequence[Example], applied: Applied) -> Split:
    """The parts as they go on, sealed as if they stood in the files so."""
    names = ("train", "validation_choose", "validation_calibrate", "test")
    parts = {name: list(applied.of(getattr(filed, name))) for name in names}
    empty = next((name for name, rows in parts.items() if not rows), None)
    if empty is not None:
        fault = f"every row of {empty.split('_')[0]} was dropped by hand"
        raise DataError(fault, where=str(log_path(task.folder)), mend="Undo some with `kasauti audit --read`.")
    return _sealed(parts, data_version(applied.of(everything)), task.seed)


def _not_applied(error: DataError) -> Finding:
    return Finding(
        check="decisions",
        severity=Severity.STOP,
        what=f"{error.what}: the rows are shown as if nothing had been decided",
        where=error.where,
        why="Nothing can be learnt or judged without rows in every part.",
        mend=error.mend,
    )


def make_split(
    task: Task,
    train: Sequence[Example],
    validation: Sequence[Example] | None,
    test: Sequence[Example] | None,
    seed: int,
    *,
    clusters: Sequence[Collection[str]] = (),
) -> tuple[Split, list[Finding]]:
    """Divide the rows: seeded, stratified by label, groups and duplicates kept whole.

    What is not given is split off: `TEST_SHARE` of train as test, `VALIDATION_SHARE` of the rest as validation. What is
    given stays as it is, but rows that also stand in a later part (train < validation < test) are taken out of the
    earlier one, so that no test row was ever learnt from. The result depends on the rows and the seed, not on their
    order.

    Args:
        task: its kind says whether to stratify, its `group` is told in findings.
        train: all rows to learn from.
        validation: rows of a validation file; None or empty splits them off.
        test: rows of a test file; None or empty splits them off.
        seed: of the shuffle.
        clusters: ids of rows that must stay together besides, such as near-duplicates.

    Returns:
        The split, and findings that count what was taken out and why.

    Raises:
        DataError: fewer than 10 rows to learn from, fewer than 2 labels, or nothing that can be split off.
    """
    validation, test = list(validation or ()), list(test or ())
    kept, kept_validation, findings = _without_later_parts(train, validation, test)
    findings += _straddling(task, train, validation, test)
    _check_enough(task, kept, len(train))
    draw = random.Random(seed)
    pool = _clusters(task, kept, clusters)
    held_test, held_validation = test, kept_validation
    if not test:
        taken, pool = take(pool, TEST_SHARE, 1, draw, leave_one=True)
        held_test = _rows(kept, taken)
    if not validation:
        taken, pool = take(pool, VALIDATION_SHARE, 2, draw, leave_one=True)
        held_validation = _rows(kept, taken)
    halves = _clusters(task, held_validation, clusters)
    choose, calibrate = take(halves, 0.5, 1, draw, leave_one=False)
    parts = {
        "train": _rows(kept, pool),
        "validation_choose": _rows(held_validation, choose),
        "validation_calibrate": _rows(held_validation, calibrate),
        "test": held_test,
    }
    for name, rows in parts.items():
        if not rows:
            raise _nothing_left(task, name, given=bool(validation) and name.startswith("validation"))
    return _sealed(parts, data_version((*train, *validation, *test)), seed), findings


def _sealed(parts: dict[str, list[Example]], version: str, seed: int) -> Split:
    """The parts with their hashes."""
    return Split(
        train=tuple(parts["train"]),
        validation_choose=tuple(parts["validation_choose"]),
        validation_calibrate=tuple(parts["validation_calibrate"]),
        test=tuple(parts["test"]),
        data_version=version,
        fingerprint=fingerprint(version, seed, parts),
        test_sha256=hash_test_rows(parts["test"]),
    )


def parts_of(split: Split) -> dict[str, Sequence[Example]]:
    """The parts as a reader thinks of them: train, validation (both halves), test."""
    return {"train": split.train, "validation": split.validation, "test": split.test}


def _roots(examples: Sequence[Example], clusters: Sequence[Collection[str]] = ()) -> list[int]:
    """The cluster of each row: same normalised content, same group, or same passed-in cluster, transitively."""
    texts: dict[str, int] = {}
    links: list[Sequence[int]] = []
    groups: defaultdict[str, list[int]] = defaultdict(list)
    passed: defaultdict[int, list[int]] = defaultdict(list)
    cluster_of: defaultdict[str, list[int]] = defaultdict(list)
    for number, cluster in enumerate(clusters):
        for id in cluster:
            cluster_of[id].append(number)
    for index, example in enumerate(examples):
        first = texts.setdefault(normalise(content(example)), index)
        if first != index:
            links.append((first, index))
        if example.group is not None:
            groups[example.group].append(index)
        for number in cluster_of.get(example.id, ()):
            passed[number].append(index)
    return merge(len(examples), [*links, *groups.values(), *passed.values()])


def _without_later_parts(
    train: Sequence[Example], validation: Sequence[Example], test: Sequence[Example]
) -> tuple[list[Example], list[Example], list[Finding]]:
    """Train and validation without the rows whose cluster reaches into a later part."""
    everything = [*train, *validation, *test]
    latest = [0] * len(train) + [1] * len(validation) + [2] * len(test)
    roots = _roots(everything)
    reach: defaultdict[int, int] = defaultdict(int)
    for root, part in zip(roots, latest, strict=True):
        reach[root] = max(reach[root], part)
    stays = [reach[root] == part for root, part in zip(roots, latest, strict=True)]
    cut = len(train)
    kept = [e for e, stay in zip(train, stays[:cut], strict=True) if stay]
    kept_validation = [e for e, stay in zip(validation, stays[cut : cut + len(validation)], strict=True) if stay]
    findings = []
    for name, rows, kept_rows, later in (
        ("train", train, kept, (("validation", validation), ("test", test))),
        ("validation", validation, kept_validation, (("test", test),)),
    ):
        staying = {id(e) for e in kept_rows}
        gone = [e for e in rows if id(e) not in staying]
        if gone:
            findings.append(_taken_out(name, gone, dict(later)))
    return kept, kept_validation, findings


def _taken_out(name: str, gone: Sequence[Example], later: dict[str, Sequence[Example]]) -> Finding:
    evidence = []
    for part, rows in later.items():
        exact = {content(e).strip() for e in gone}
        same = {normalise(content(e)) for e in gone}
        groups = {e.group for e in gone if e.group is not None}
        raw = sum(content(e).strip() in exact for e in rows)
        near = sum(normalise(content(e)) in same for e in rows)
        grouped = sum(e.group in groups for e in rows)
        if raw or near or grouped:
            shared = f"; {grouped} share a group with it" if grouped else ""
            evidence.append(f"{part}: {raw} rows repeat {name} exactly, {near} after normalisation{shared}")
    return Finding(
        check="split",
        severity=Severity.WARN,
        what=f"{len(gone)} {name} rows also stand in {' or '.join(later)} (same text or same group) and were taken out",
        where=name,
        count=len(gone),
        rows=[e.row for e in gone[:20]],
        evidence=evidence,
        why="A model judged on rows that it has learnt looks better than it is.",
        mend="Nothing needs to be done here; look at how the files were made, for near-duplicates may be left.",
    )


def _straddling(
    task: Task, train: Sequence[Example], validation: Sequence[Example], test: Sequence[Example]
) -> list[Finding]:
    """Groups that stand in more than one of the files that were given."""
    parts = {"train": train, "validation": validation, "test": test}
    homes: defaultdict[str, set[str]] = defaultdict(set)
    for name, rows in parts.items():
        for row in rows:
            if row.group is not None:
                homes[row.group].add(name)
    torn = sorted(group for group, names in homes.items() if len(names) > 1)
    if not torn:
        return []
    wide = set(torn)
    counts = {name: [row for row in rows if row.group in wide] for name, rows in parts.items()}
    told = ", ".join(f"{name} {len(rows)}" for name, rows in counts.items() if rows)
    first = next(rows for rows in reversed(counts.values()) if rows)
    return [
        Finding(
            check="groups",
            severity=Severity.WARN,
            what=f"{len(torn)} values of {task.group!r} stand in more than one file (rows: {told})",
            where=" and ".join(name for name, rows in counts.items() if rows),
            count=sum(map(len, counts.values())),
            rows=[row.row for row in first[:20]],
            evidence=[f"{group}: {', '.join(name for name in parts if name in homes[group])}" for group in torn[:20]],
            why="Rows of one group are alike in more than their text: what was learnt on some flatters on the others.",
            mend="Cut the files by group. Until then the earlier file loses those rows before anything is learnt.",
        )
    ]


def _check_enough(task: Task, kept: Sequence[Example], given: int) -> None:
    usable = [e for e in kept if content(e).strip() and e.answer]
    where = task.data.train
    if len(usable) < MIN_ROWS:
        taken = "after rows that also stand in validation or test were taken out, " if len(kept) < given else ""
        mend = "Collect more: 500 are a minimum for tuning, 2,000 are good."
        raise DataError(f"{taken}{len(usable)} usable rows, at least {MIN_ROWS} are needed", where=where, mend=mend)
    labels = {e.answer for e in usable}
    if task.kind == "classification" and len(labels) < 2:
        mend = "Add rows of another label: with one there is nothing to learn."
        raise DataError(f"every row has the label {labels.pop()!r}", where=where, mend=mend)


def _nothing_left(task: Task, name: str, *, given: bool) -> DataError:
    part = name.split("_")[0]
    if given:
        fault = "too few rows of the validation file are left to cut them into two halves"
        return DataError(fault, where=task.data.validation or "", mend="Add rows, or set `data.validation: null`.")
    held = f"duplicates and rows with the same {task.group!r}" if task.group else "duplicates"
    fault = f"no rows can be split off for {part}: no label has rows to spare ({held} stay together)"
    return DataError(fault, where=task.data.train, mend=f"Add rows, or name a file under `data.{part}`.")


def _clusters(task: Task, examples: Sequence[Example], clusters: Sequence[Collection[str]]) -> list[Cluster]:
    answers = [(e.answer or "") if task.kind == "classification" else "" for e in examples]
    one = {answer: {answer: 1} for answer in set(answers)}
    members: defaultdict[int, list[int]] = defaultdict(list)
    roots = _roots(examples, clusters)
    sizes = Counter(roots)
    found = []
    for index, (root, answer) in enumerate(zip(roots, answers, strict=True)):
        if sizes[root] == 1:  # nearly all
            found.append(Cluster((index,), one[answer], answer, examples[index].id))
        else:
            members[root].append(index)
    for rows in members.values():
        counts = Counter(answers[i] for i in rows)
        label = min(counts, key=lambda answer: (-counts[answer], answer))
        found.append(Cluster(tuple(rows), counts, label, min(examples[i].id for i in rows)))
    return sorted(found, key=lambda cluster: cluster.key)


def _rows(examples: Sequence[Example], clusters: Sequence[Cluster]) -> list[Example]:
    """The rows of clusters, in the order of the file."""
    return [examples[i] for i in sorted(i for cluster in clusters for i in cluster.rows)]
