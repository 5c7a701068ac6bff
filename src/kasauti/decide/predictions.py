"""Every approach's answer to every test row, as one Parquet file.

Walks in: test rows and answers. Walks out: columns approach, id, row, truth, answer, ended, confidence, generated.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from kasauti.core.files import atomic_write
from kasauti.core.types import Example, Prediction
from kasauti.decide.fitted import Answers


def write_predictions(path: Path, test: Sequence[Example], answers: Sequence[Answers]) -> None:
    """One row an approach and test row, in the order of the trial."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[object]] = {
        name: [] for name in ("approach", "id", "row", "truth", "answer", "ended", "confidence", "generated")
    }
    for one in answers:
        written: Sequence[Prediction | None] = one.generated or [None] * len(test)
        for row, given, free in zip(test, one.predictions, written, strict=True):
            values = (
                one.name,
                row.id,
                row.row,
                row.answer,
                given.answer,
                given.ended.value,
                given.confidence,
                free.raw if free else None,
            )
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    kinds = {"row": pa.int64(), "confidence": pa.float64()}
    table = pa.table({name: pa.array(values, type=kinds.get(name, pa.string())) for name, values in columns.items()})
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    atomic_write(path, stream.getvalue())
