"""Every error that Kasauti raises on purpose.

    KasautiError                    one line: what, where, how to mend; exit code 1
    ├── UsageError                  wrong usage or bad input; exit code 2
    │   ├── TaskError               the task file
    │   ├── DataError               a data file or a row of it
    │   ├── TemplateError           the chat template or the tokenizer
    │   ├── ModelError              a model folder or id that cannot be used
    │   └── IsolationError          code that cannot be run safely on this machine
    ├── SupervisionError            the proof found a row that must not be trained on
    ├── TrainingError               training stopped because going on would be wrong
    └── StorageError                a disk that is full or may not be written; exit code 2

An error is built from three parts so that none is forgotten; `str(error)` is always a single line.
"""

from __future__ import annotations


class KasautiError(Exception):
    """What was found, where it was found, and what to do next.

    Args:
        what: the fault, with the offending value.
        where: file, row, field or object; may be empty.
        mend: the next step for the reader, an imperative sentence.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what = _one_line(what)
        self.where = _one_line(where)
        self.mend = _one_line(mend)
        super().__init__(self.line())

    def line(self) -> str:
        """The error as one line: `where: what. mend`."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head.rstrip('.')}. {self.mend}" if self.mend else head


class UsageError(KasautiError):
    """Wrong usage or bad input; nothing was written."""

    exit_code = 2


class TaskError(UsageError):
    """The task file says something that cannot be."""


class DataError(UsageError):
    """A data file, a column or a row is not what the task needs."""


class TemplateError(UsageError):
    """The chat template or the tokenizer cannot express the task's conversations."""


class ModelError(UsageError):
    """A model folder, id or option that cannot be used."""


class IsolationError(UsageError):
    """Code would have to run where it could do harm; it was not run."""


class StorageError(UsageError):
    """The disk is full, or a folder may not be written."""


class SupervisionError(KasautiError):
    """A row whose supervision would be wrong; training is refused."""


class TrainingError(KasautiError):
    """Training was stopped because going on would give a wrong model."""


def _one_line(text: str) -> str:
    return " ".join(str(text).split())
