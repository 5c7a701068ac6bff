"""The only place with progress bars and tables.

Walks in: the library's progress calls; rows of a table. Walks out: bars on a terminal, a plain line now and then
elsewhere, both on standard error; lines of text. It does not know what is being done. rich is imported only when
there is something to draw.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TextIO

from kasauti.core.progress import Remark

EVERY = 10.0
"""Seconds between two plain lines of one stage."""
WIDTH = 110
"""Columns of a table where there is no terminal to fill."""


class Draw:
    """A `Progress` (see `core.progress`): call it with a stage, what is done, what there is to do, and a remark.

    A stage of a single step is not drawn. Use it as a context manager: leaving it ends the bars, also after an error.

    Args:
        stream: where to draw; standard error by default.
        clock: seconds; for tests.
    """

    def __init__(self, stream: TextIO | None = None, clock: Any = time.monotonic) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._live = self._stream.isatty()
        self._bars: Any = None
        self._ids: dict[str, Any] = {}
        self._began: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._figures: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int, remark: Remark = "") -> None:
        if total <= 1:
            return
        if self._live:
            self._bar(stage, done, total, remark)
        else:
            self._line(stage, done, total, in_words(remark))

    def _bar(self, stage: str, done: int, total: int, given: Remark) -> None:
        if self._bars is None:
            self._bars = _bars(self._stream, self._figures)
            self._bars.start()
        remark = given if isinstance(given, str) else ""
        if not isinstance(given, str):
            self._figures.clear()
            self._figures.update(given)
        if stage not in self._ids:
            self._ids[stage] = self._bars.add_task(stage, total=total, remark=remark)
        elif self._bars.tasks[self._ids[stage]].finished and done < total:
            self._bars.reset(self._ids[stage], total=total)
        self._bars.update(self._ids[stage], completed=done, total=total, remark=remark)

    def _line(self, stage: str, done: int, total: int, remark: str) -> None:
        now = self._clock()
        if done == 0 or stage not in self._began:
            self._began[stage] = now
            self._told.setdefault(stage, now)
        ended = done >= total
        first_end = ended and stage not in self._ids
        if not first_end and now - self._told[stage] < EVERY:
            return
        self._told[stage] = now
        if ended:
            self._ids[stage] = True
        spent = now - self._began[stage]
        left = "" if ended or not done else f", {_clock(spent / done * (total - done))} left"
        tail = f"  {remark}" if remark else ""
        with contextlib.suppress(OSError):  # nobody reads them: no reason to stop the work
            self._stream.write(f"kasauti: {stage} {done}/{total} ({100 * done // total}%{left}){tail}\n")
            self._stream.flush()


def _bars(stream: TextIO, figures: Mapping[str, float]) -> Any:
    """Bars of all stages, and under them the newest figures with their names, for as long as there are any."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table

    class Bars(Progress):
        def get_renderables(self) -> Any:
            yield self.make_tasks_table(self.tasks)
            if figures:
                grid = Table.grid(padding=(0, 3))
                names = [name for name in FIGURES if name in figures]
                grid.add_row(*(FIGURES[name][0] for name in names), style="dim")
                grid.add_row(*(FIGURES[name][1](figures[name]) for name in names), style="bold")
                yield grid

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[remark]}", markup=False),
        console=Console(file=stream),
        refresh_per_second=4,
    )


def in_words(remark: Remark) -> str:
    """A remark as it stands, or figures as `loss 0.412, 5,230 tokens/s`."""
    if isinstance(remark, str):
        return remark
    return ", ".join(f"{FIGURES[name][0]} {FIGURES[name][1](remark[name])}" for name in FIGURES if name in remark)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def duration(seconds: float) -> str:
    """Seconds in words that a person would use: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def size(bytes: float) -> str:
    """Bytes in MB or GB (powers of ten)."""
    return f"{bytes / 1e9:.1f} GB" if bytes >= 1e9 else f"{bytes / 1e6:.0f} MB"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{digits}f}%"


FIGURES: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "loss": ("loss", "{:.3f}".format),
    "validation_loss": ("validation loss", "{:.3f}".format),
    "validation_accuracy": ("accuracy", percent),
    "validation_macro_f1": ("macro-F1", percent),
    "tokens_per_second": ("tokens/s", "{:,.0f}".format),
    "share_of_limit": ("of this machine's limit", lambda share: percent(share, 0)),
}
"""Figure of a progress → its name and how it is written, in the order in which they stand."""


def findings_lines(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line a finding: how bad, what, and the next step."""
    return [f"{one['severity']}: {str(one['what']).rstrip('.')}. {one['mend']}".rstrip() for one in findings]


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, right: Collection[str] = ()) -> list[str]:
    """Lines of a table as wide as the terminal; cells wrap, and nothing in them is read as markup.

    Args:
        head: names of the columns.
        rows: one cell a column.
        right: names of the columns that are aligned at their right, such as figures.
    """
    import io
    import shutil

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        made.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    text = io.StringIO()
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    Console(file=text, width=max(width, 60), color_system=None).print(made)
    return [line.rstrip() for line in text.getvalue().split("\n") if line.strip()]
