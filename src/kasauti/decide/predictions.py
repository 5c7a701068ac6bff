"""Every approach's answer to every test row, as one Parquet file.

Walks in: test rows, answers, how right each is. Walks out: columns approach, id, row, truth, answer, ended, confidence,
generated, score; and the scores again, for who compares two trials.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from kasauti.core.files import atomic_write
from kasauti.core.types import Example, Prediction
from kasauti.decide.fitted import Answers
from kasauti.measure.grades import Grades


def write_predictions(
    path: Path, test: Sequence[Example], answers: Sequence[Answers], grades: Mapping[str, Grades]
) -> None:
    """One row an approach and test row, in the order of the trial.

    Args:
        grades: approach → how right its answers are.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[object]] = {
        name: [] for name in ("approach", "id", "row", "truth", "answer", "ended", "confidence", "generated", "score")
    }
    for one in answers:
        written: Sequence[Prediction | None] = one.generated or [None] * len(test)
        for row, given, free, score in zip(
            test, one.predictions, written, grades[one.name].scores.tolist(), strict=True
        ):
            values = (
                one.name,
                row.id,
                row.row,
                row.answer,
                given.answer,
                given.ended.value,
                given.confidence,
                free.raw if free else None,
                float(score),
            )
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    kinds = {"row": pa.int64(), "confidence": pa.float64(), "score": pa.float64()}
    table = pa.table({name: pa.array(values, type=kinds.get(name, pa.string())) for name, values in columns.items()})
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    atomic_write(path, stream.getvalue())


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Approach → row id → score, of a file that `write_predictions` made; empty where there is none, or an older one
    without scores."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["approach", "id", "score"])
    except (OSError, pa.ArrowException):  # not there, cut off, or no such column
        return {}
    found: dict[str, dict[str, float]] = {}
    for approach, id, score in zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True):
        found.setdefault(approach, {})[id] = score
    return found
