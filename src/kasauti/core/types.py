"""The values that travel between rooms. All frozen; a sentence and, where there is one, a unit under every field.

Walks in: nothing. Walks out: the vocabulary. It does not know files, tokenizers, networks or pages.
"""

from __future__ import annotations

import enum
import functools
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from kasauti.core.hosted import Endpoint
from kasauti.core.knowledge import Knowledge


class Ended(enum.StrEnum):
    """How an answer ended; measures and services treat each member differently."""

    ANSWERED = "answered"
    """A valid answer: counted as it stands."""
    ABSTAINED = "abstained"
    """The approach chose not to answer; the fallback reaches the caller."""
    UNPARSABLE = "unparsable"
    """Text came out that is no valid answer: counted in the invalid rate, the fallback reaches the caller."""
    FAILED = "failed"
    """No text came out (an exception, a time-out): counted as wrong, and shown."""


class Severity(enum.StrEnum):
    """How bad a finding is."""

    STOP = "stop"
    """Going on would give a wrong result; the command exits with 1."""
    WARN = "warn"
    """The result will be worse, or is less sure, than it could be."""
    NOTE = "note"
    """Worth knowing; nothing needs to be done."""


NO_COLUMNS: Mapping[str, str] = {}
"""One empty mapping for all rows that have none."""


def fill(template: str, fields: Mapping[str, str]) -> str:
    """The user turn: a task's `input` with its columns filled in. Braces inside a value stay as they are."""
    return "".join(literal + (fields[name] if name is not None else "") for literal, name in _parts(template))


@functools.lru_cache(maxsize=64)
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    return tuple((literal, name) for literal, name, _, _ in string.Formatter().parse(template))


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    """`system`, `user` or `assistant`; nothing else leaves the data room."""
    content: str
    """The text of the turn, as the user wrote it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One row of data in normal form."""

    id: str
    """Hash of the content (fields, answer, group, history), 16 hexadecimal digits; equal rows have equal ids."""
    fields: Mapping[str, str]
    """The columns that the task's input names, as text."""
    template: str
    """The task's `input`; one string that all rows share, as a million copies of what it makes would be large."""
    answer: str | None
    """The target; None for a row that is only to be answered."""
    group: str | None = None
    """The value that must never straddle a split (a customer, a thread)."""
    history: Sequence[Message] = ()
    """Earlier turns of the conversation, in order; a system turn of the row's own comes first and stands in place of
    the task's instructions. Part of the id."""
    source: str = ""
    """The file that the row came from."""
    row: int = 0
    """Its number in that file, the first row of data being 1."""
    judging: Mapping[str, str] = field(default_factory=lambda: NO_COLUMNS)
    """Columns that only whoever judges an answer reads, such as the tests of a program. Part of the id."""
    reviewed: bool = False
    """A person has read the row and stands by its answer."""

    @property
    def text(self) -> str:
        """The user turn: the task's `input` with the fields filled in, made at every look."""
        return fill(self.template, self.fields)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something found in data, training or production; one shape for all, so that one table shows them."""

    check: str
    """The name of the check that found it."""
    severity: Severity
    what: str
    """The fault in one sentence, with its figures."""
    where: str = ""
    """File, split or field."""
    count: int = 0
    """Rows concerned."""
    rows: Sequence[int] = ()
    """Row numbers of some of them, at most 20."""
    evidence: Sequence[str] = ()
    """Texts or figures that show it, at most 20."""
    why: str = ""
    """Why it matters, in one sentence."""
    mend: str = ""
    """The next step."""
    ranked: Sequence[Mapping[str, Any]] = ()
    """Every row concerned, where the check ranks them, the first to read first; plain values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """The data of a task, divided once and for all approaches alike."""

    train: Sequence[Example]
    validation_choose: Sequence[Example]
    """The part of the validation rows on which settings and checkpoints are chosen."""
    validation_calibrate: Sequence[Example]
    """The part on which temperatures and thresholds are fitted; never used to choose."""
    test: Sequence[Example]
    """Judged once; no `fit` is ever handed one of these."""
    data_version: str
    """sha256 over the normalised rows of all parts."""
    fingerprint: str
    """sha256 over data version, seed and the assignment of rows to parts."""
    test_sha256: str
    """sha256 over the ids of the test rows, sorted."""

    @property
    def validation(self) -> tuple[Example, ...]:
        """Both parts of the validation rows."""
        return (*self.validation_choose, *self.validation_calibrate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Supervised:
    """One conversation as token ids, ready to train on."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    """Same length as `ids`; -100 where the position is not supervised."""
    prefix_length: int
    """Number of ids before the first supervised one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """An answer; the same value in a trial and in production."""

    answer: str | None
    """The answer that counts; None unless `ended` is answered."""
    ended: Ended = Ended.ANSWERED
    confidence: float | None = None
    """Probability of `answer`, 0 to 1, calibrated where the approach says so; None where there is none."""
    probabilities: Mapping[str, float] | None = None
    """Probability of every label, summing to 1; None where the approach gives none."""
    raw: str = ""
    """The text as it was generated, before parsing."""
    seconds: float = 0.0
    """Wall-clock seconds that this answer took."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    """In the task's currency, for approaches whose calls are paid."""
    sources: Sequence[str] = ()
    """Documents that the answer rests on, for approaches that look in some."""
    log_mass: float | None = None
    """Logarithm of what the labels have together before they are made to sum to 1: for a network, of the probability
    that it answers with one of them at all; for a linear model, of the sum of its exponentiated margins (minus its
    energy). Low where an input is unlike all labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One figure with its uncertainty."""

    metric: str
    value: float
    low: float
    """Lower end of the 95% interval."""
    high: float
    """Upper end of the 95% interval."""
    rows: int
    """Rows that the figure stands on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two approaches on the same rows, a minus b."""

    a: str
    b: str
    difference: float
    """Metric of a minus metric of b."""
    low: float
    high: float
    p_value: float
    """Two-sided, before correction."""
    p_adjusted: float
    """After Holm's correction over the family."""
    test: str
    """`mcnemar_exact`, or `paired_bootstrap` (interval by bootstrap, p by sign changes) for scores between 0 and 1."""
    only_a: int
    """Rows that a has right and b wrong, or on which a has the higher score."""
    only_b: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Which approach to ship, and why."""

    ship: str
    runner_up: str | None
    because: Sequence[str]
    tuning_wins: bool
    margin: float
    break_even_calls_per_month: float | None
    needs: Sequence[str]
    """What would change the verdict, in sentences."""


class Approach(Protocol):
    """Everything that can answer the task. Constructors take settings and do nothing; `fit` does the work.

    `fit` is handed training and validation rows and never a test row.
    """

    name: str
    family: str
    """majority, classical, prompt, retrieval, tuned, hosted or cascade."""

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        """Learn from `train`, choose settings on `choose`, fit temperatures and thresholds on `calibrate`."""
        ...

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction a row, in order. Answers in the examples are not read."""
        ...

    def save(self, folder: str) -> None:
        """Write all that `load` needs into an empty folder."""
        ...

    def load(self, folder: str) -> Self:
        """The inverse of `save`."""
        ...

    def about(self) -> Mapping[str, Any]:
        """What was chosen and why, for the report: settings, temperature, sizes."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Business:
    """What the user says about money; the verdict depends on it."""

    calls_per_month: float = 100_000
    margin: float = 0.02
    """An approach must be better by more than this to be worth its complexity."""
    gpu_per_hour: float = 0.6
    cpu_per_hour: float = 0.1
    hosted_per_1m_tokens: Mapping[str, float] = field(default_factory=lambda: {"input": 2.5, "output": 10.0})
    value_per_right_answer: float | None = None
    """What one more right answer is worth; None lets accuracy alone decide."""
    price_per_label: float = 0.0
    """What labelling one row costs."""
    labelled_rows: float | None = None
    """Rows whose labels are paid for by whoever learns from training rows; None counts training and validation rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFiles:
    """Where the rows are; a part that is None is split off from train. A source is a file, a pattern of files, a saved
    data set's folder, or `hf://owner/name:split`."""

    train: str
    validation: str | None = None
    test: str | None = None
    shape: str | None = None
    """The shape that the rows are in, of `core.task.SHAPES`; None recognises it by the first rows of each source."""
    skip_bad: bool = False
    """Leave bad rows out and count them; False refuses them."""
    out_of_scope: str | None = None
    """Inputs that belong to no label; nothing is ever fitted on them, a trial measures how well they are told apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """What the user wants of the answers that are accepted without a person."""

    goal: str = "accuracy"
    """`accuracy`: so many of the accepted answers are right; `coverage`: so many of the answers are accepted."""
    wanted: float = 0.95
    rule: str = "plain"
    """`plain`: as it was on the validation rows; `exact`: with probability 1 - error, at a price."""
    error: float = 0.05
    """Probability that an exact threshold misses its goal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSearch:
    """How long a prompt is searched for; see `approaches.optimised`."""

    candidates: int = 16
    """Prompts that are tried."""
    rows: int = 200
    """Validation rows (of those to choose on) that the last ones are judged on, at most."""
    seconds: float = 600
    """After so long the best so far is taken. A search that time cuts off need not end alike twice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """What the user says about when an answer is right, for kinds without labels."""

    metric: str | None = None
    """`module:function`, the user's own figure; None takes the kind's."""
    schema: str | None = None
    """A JSON Schema file, relative to the task's folder, that every answer has to satisfy."""
    program: str | None = None
    """kind code: what is run to test an answer, a format string over columns and `{answer}`."""
    seconds: float = 10.0
    """kind code: processor seconds that a program may use."""
    memory_mb: int = 1024
    """kind code: memory that a program may use."""
    columns: tuple[str, ...] = ()
    """The columns that `program` names, in order of appearance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A task file, checked."""

    folder: str
    """Absolute path of the folder that holds `task.yaml`."""
    name: str
    kind: str
    """classification, summarization, code or generation."""
    instructions: str
    """The system turn."""
    input: str
    """The user turn, a format string over columns."""
    target: str
    """The column that holds the answer."""
    labels: Mapping[str, str]
    """Label → one-line description (empty where none was given); empty for kinds without labels."""
    fallback: str | None
    data: DataFiles
    group: str | None
    model: str
    chat_template: str | None
    """A template named in the task file (a Jinja file, or the name of a known one), for models without one."""
    train: Mapping[str, Any]
    """Fields of the recipe that the user set."""
    business: Business
    scoring: Scoring = field(default_factory=Scoring)
    accept: Acceptance = field(default_factory=Acceptance)
    prompt_search: PromptSearch = field(default_factory=PromptSearch)
    knowledge: Knowledge | None = None
    """Documents that answers may rest on; None without any."""
    registry: str | None = None
    """Where the versions are: a folder relative to the task's, or an fsspec URL; None for `.kasauti/registry`."""
    embedding_model: str | None = None
    """A sentence-transformers model that says which texts are alike: a Hugging Face id, or a folder; None for none."""
    cascade: tuple[str, str] | None = None
    """The two approaches of the cascade, the cheap one first; None for classical and tuned."""
    seed: int = 42
    hosted: Endpoint | None = None
    """A hosted model to judge beside the others; None where there is none."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that `input` uses, in order of appearance."""
        return _columns(self.input)


@functools.lru_cache(maxsize=64)
def _columns(template: str) -> tuple[str, ...]:
    """Asked for with every row of a file."""
    import string

    return tuple(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(template) if name))
