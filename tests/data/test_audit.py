"""The audit shows everything, worst first, and is never silent about a check that failed."""

from tests.data.conftest import rows_of, split_of, task_of

from kasauti.core.types import Finding, Severity
from kasauti.data.audit import CHECKS, audit_data
from kasauti.data.split import load_split

TASK = task_of()
ROWS = rows_of(TASK, [(f"t{n} u{n}", "ab"[n % 2]) for n in range(30)])
ORDER = [Severity.STOP, Severity.WARN, Severity.NOTE]


def test_findings_come_worst_first():
    def check(task, split):
        return [
            Finding(check="x", severity=Severity.NOTE, what="n", count=99),
            Finding(check="x", severity=Severity.WARN, what="w", count=1),
            Finding(check="x", severity=Severity.WARN, what="W", count=2),
        ]

    before = Finding(check="split", severity=Severity.STOP, what="s")
    found = audit_data(TASK, split_of(ROWS), found=[before], checks={"x": check})
    assert [f.what for f in found] == ["s", "W", "w", "n"]


def test_a_check_that_crashes_is_a_finding():
    def crash(task, split):
        raise ZeroDivisionError("of course\nnot")

    asked = []
    (found,) = audit_data(TASK, split_of(ROWS), checks={"crash": crash}, progress=asked.append)
    assert asked == ["crash"]
    assert found.severity == Severity.WARN
    assert found.what == "the check 'crash' could not run: ZeroDivisionError: of course not"


def test_a_file_with_one_fault_of_each_kind_has_each_named(write, tmp_path):
    topics = ("refund late card", "parcel lost street")
    fine = [f"{topics[(n + 1) % 2]} n{n} m{n} k{n},{'ab'[n % 2]}" for n in range(300)]
    faults = [
        "refund late card n1 m1 k1 z,b",  # near-duplicate
        "twice the very same,a",
        "Twice the very same!,b",  # conflict and normalised duplicate
        ",a",  # blank input
        "some text here,A",  # near-miss label
        "no answer here,",
        "write to me@mail.com or 98765 43210,a",
        "a third text <|eot_id|> here,a",
        "parcel lost street n999 m999 k999,b",  # wrong label
    ]
    write("rows.csv", "text,label\n" + "\n".join([*fine, *faults]))
    test = [f"paise nahi aaye parcel lost street x{n},a" for n in range(40)]
    leaked = ["refund late card n3 m3 k3 zz,b", "refund late card n5 m5 k5,b"]
    write("test.csv", "text,label\n" + "\n".join([*test, *leaked]))
    task = task_of("abc", folder=tmp_path, extra="data: {train: rows.csv, test: test.csv}")
    split, found = load_split(task, strict=False)
    findings = audit_data(task, split, found=found)
    seen = {finding.check for finding in findings}
    assert seen >= set(CHECKS) - {"imbalance"} | {"split"}
    assert [f.severity for f in findings] == sorted((f.severity for f in findings), key=ORDER.index)
    assert not [f for f in findings if "could not run" in f.what]
    assert all(f.why and f.mend and len(f.rows) <= 20 and len(f.evidence) <= 20 for f in findings)
    suspects = next(f for f in findings if f.check == "mislabelled")
    assert 308 in suspects.rows


def test_other_kinds_of_task_are_audited_without_labels():
    from kasauti.core.task import parse_task

    task = parse_task("kind: generation\ninput: '{text}'\ntarget: label\ndata: {train: r.csv}", folder="/t")
    rows = rows_of(task, [(f"t{n} u{n}", f"answer {n}") for n in range(50)])
    found = audit_data(task, split_of(rows[:30], rows[30:40], rows[40:]))
    assert {f.check for f in found} == {"few_rows"}
