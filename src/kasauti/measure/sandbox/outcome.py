"""How a program ended, and what it was allowed: the values on both sides of the wall.

Walks in: nothing. Walks out: `Limits`, `Outcome`, `Execution`. Only the standard library is imported: the process
behind the wall reads this file too.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Outcome(enum.StrEnum):
    """How a program ended. Only `passed` counts as right."""

    PASSED = "passed"
    """Every statement ran to the end, the tests among them."""
    FAILED = "failed"
    """A test did not hold (`AssertionError`)."""
    RAISED = "raised"
    """Another exception ended it, a syntax error for instance."""
    EXITED = "exited"
    """It left before its tests were done."""
    TIMED_OUT = "timed_out"
    """It used more processor seconds, or more seconds on the clock, than it may."""
    OUT_OF_MEMORY = "out_of_memory"
    """It asked for more memory than it may have."""
    TOO_MUCH_OUTPUT = "too_much_output"
    """It wrote more than it may."""
    KILLED = "killed"
    """A signal ended it: it crashed, or broke another limit."""
    NO_ANSWER = "no_answer"
    """There was no program to run."""

    @property
    def sentence(self) -> str:
        """What a reader is told."""
        return _SENTENCES[self]


_SENTENCES = {
    Outcome.PASSED: "ran to the end and passed its tests",
    Outcome.FAILED: "a test did not hold",
    Outcome.RAISED: "an exception ended it",
    Outcome.EXITED: "left before its tests were done",
    Outcome.TIMED_OUT: "took longer than it may",
    Outcome.OUT_OF_MEMORY: "needed more memory than it may have",
    Outcome.TOO_MUCH_OUTPUT: "wrote more than it may",
    Outcome.KILLED: "was ended by a signal",
    Outcome.NO_ANSWER: "there was no code to run",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one program may use; all of it is given back when it ends."""

    seconds: float = 10.0
    """Processor seconds of each of its processes."""
    patience: float = 3.0
    """Seconds on the clock for each of `seconds`: a busy machine is no fault of the program."""
    memory_mb: int = 1024
    """Address space of each of its processes, and resident memory of all of them together."""
    processes: int = 32
    """Processes and threads at a time."""
    file_mb: int = 16
    """Size of one file; its temporary folder holds four times that."""
    output_bytes: int = 1_000_000
    """What it may write to standard output and standard error together; the first 10,000 are kept."""

    @property
    def wall_seconds(self) -> float:
        """Seconds on the clock after which everything is killed."""
        return self.seconds * self.patience


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """What came of one program."""

    outcome: Outcome
    detail: str = ""
    """The exception or the signal, one line of at most 300 characters; the program's own words, not to be trusted."""
    output: str = ""
    """The first 10,000 bytes that it wrote."""
    seconds: float = 0.0
    """On the clock, the building of the walls included."""

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASSED
