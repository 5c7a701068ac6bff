"""Small tasks and rows; the public data set where it lies beside the repository."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from kasauti.core.task import parse_task
from kasauti.core.types import Example, Split, Task
from kasauti.data.conversation import make_example
from kasauti.data.versions import data_version, fingerprint, hash_test_rows

BANKING = Path(__file__).parents[3] / "shared" / "data" / "banking77" / "banking_data"


def task_of(labels: Iterable[str] = ("a", "b"), folder: str | Path = "/task", extra: str = "") -> Task:
    """A classification of column `text` into `label`."""
    text = f"kind: classification\ninput: 'Say: {{text}}'\ntarget: label\nlabels: [{', '.join(labels)}]\n"
    return parse_task(f"{text}{'' if 'data:' in extra else 'data: {train: rows.csv}'}\n{extra}", folder=folder)


def rows_of(task: Task, rows: Iterable[Sequence[str]], strict: bool = False) -> list[Example]:
    """Examples from (text, label) or (text, label, group)."""
    columns = ("text", "label", *([task.group] if task.group else []))
    return [
        make_example(task, dict(zip(columns, row, strict=False)), number, "rows.csv", strict=strict)
        for number, row in enumerate(rows, start=1)
    ]


def split_of(train: Sequence[Example], validation: Sequence[Example] = (), test: Sequence[Example] = ()) -> Split:
    """Parts as they are, for checks."""
    half = len(validation) // 2
    version = data_version((*train, *validation, *test))
    return Split(
        train=tuple(train),
        validation_choose=tuple(validation[:half]),
        validation_calibrate=tuple(validation[half:]),
        test=tuple(test),
        data_version=version,
        fingerprint=fingerprint(version, 0, {"train": train, "test": test}),
        test_sha256=hash_test_rows(test),
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of the test's own and returns its path."""

    def put(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return put


@pytest.fixture(scope="session")
def banking() -> tuple[Task, list[Example], list[Example]]:
    """Banking77's own split as a task with its train and test rows."""
    if not BANKING.is_dir():
        pytest.skip("Banking77 is not here")
    from kasauti.data.conversation import count_answers, load_examples

    labels = sorted(count_answers(BANKING / "train.csv", "category"))
    task = parse_task(
        f"kind: classification\ninput: 'Query: {{text}}'\ntarget: category\nlabels: {labels!r}\n"
        "data: {train: train.csv, test: test.csv}",
        folder=BANKING,
    )
    return task, list(load_examples(task, "train")), list(load_examples(task, "test"))
