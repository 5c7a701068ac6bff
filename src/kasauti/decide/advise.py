"""The decision framework: what to try, in which order, and what the evidence says once there is some.

Walks in: the situation in the user's words (volume, rows, facts, privacy, …) and, where there is one, a finished trial.
Walks out: an `Advice` whose steps say why, when to use them, when not to, and what they take. It knows no model and
asks nobody.

The order is always from simple to complex: prompt, then retrieval, then tuning, full fine-tuning last. The situation
decides which steps are worth the try; a trial decides which of those is worth shipping, and what it measured stands
in place of what is usually so. Figures without a trial are rules of thumb and are called so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kasauti.core.errors import UsageError
from kasauti.decide.steps import STEPS

PROBLEMS = ("format", "knowledge", "both")
LEAST_ROWS, GOOD_ROWS, MEMORISED = 500, 2000, 200
"""Labelled rows under which an adapter is not worth it, over which it is at its best, and under which it memorises."""
CLASSICAL_ROWS = 50
"""Labelled rows under which a plain classifier has nothing to learn from."""
SHOT_ROWS = 30
"""Labelled rows from which showing the nearest ones in the prompt begins to help."""
TUNED_PER_1K, HOSTED_PER_1K = 0.10, 10.0
"""Rules of thumb: 1,000 calls of a tuned model of 8 billion parameters on an own GPU, and of a large hosted one."""
PAYS_WITHIN = 12.0
"""Months within which the work of tuning has to be paid back by cheaper calls."""
MUCH = 100_000
"""Calls a month that are many where no hosted model sets a price to compare with."""
SLOW_MS = 500.0
"""Milliseconds under which a large model, hosted or with a long prompt, mostly does not answer."""
TRY, REFERENCE, WAIT, SKIP = "try", "try as reference", "not yet", "do not"


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What has to be known before anything is built."""

    calls_per_month: float = 100_000
    labelled_rows: int = 0
    facts_change: bool = False
    """What the answer depends on is in documents or tables that change."""
    cite_sources: bool = False
    """The answer has to name where it comes from."""
    problem: str = "format"
    """What the model lacks: `format` (style, labels, consistency), `knowledge` (facts that it never saw), or `both`."""
    private: bool = False
    """Texts may not leave the house."""
    latency_ms: float | None = None
    """Milliseconds within which 95% of the answers have to come; None where nobody waits."""
    gpu: bool = False
    """There is a GPU of 16 GB or more to train and serve on."""
    task_changes: bool = False
    """Labels or rules change every few weeks."""
    classification: bool = True
    """The answer is one of a list of labels."""
    small_model: bool = False
    """The task's model is small enough to be trained without a GPU."""
    day_cost: float = 400.0
    """What a working day of an engineer costs, in the currency of all other figures."""

    def check(self) -> None:
        """Refuse what cannot be. Raises `UsageError`."""
        if self.problem not in PROBLEMS:
            mend = f"Write one of: {', '.join(PROBLEMS)}."
            raise UsageError(f"{self.problem!r} is no problem that is known", where="--problem", mend=mend)
        for name in ("calls_per_month", "labelled_rows", "latency_ms", "day_cost"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{value} cannot be", where=option, mend="Give a number of at least 0.")

    @property
    def needs_facts(self) -> bool:
        return self.facts_change or self.cite_sources or self.problem in ("knowledge", "both")


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing to try, or not."""

    name: str
    title: str
    advice: str
    """`try`, `try as reference`, `not yet` or `do not`; with a trial also `ship` or `tried`."""
    reasons: tuple[str, ...]
    use_when: str
    not_when: str
    time: str
    cost: str
    measured: str
    """What the trial measured; empty where it did not."""
    next: str
    """The next step, a command or a sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What to do, in order."""

    headline: str
    steps: tuple[Step, ...]
    """Those worth a try first, from simple to complex; then the others, with what speaks against them."""
    trial: str | None
    """The trial whose evidence stands in it."""


def advise(situation: Situation, trial: Mapping[str, Any] | None = None) -> Advice:
    """The order of things to try.

    Args:
        situation: what is known.
        trial: a finished trial's document (`trial.json`); what it measured replaces the rules of thumb.

    Raises:
        UsageError: a figure or a word that cannot be.
    """
    situation.check()
    judged = _judged(trial)
    steps = []
    for name, known in STEPS.items():
        if name == "classical" and not situation.classification:
            continue
        advice, reasons = _RULES[name](situation)
        measured = judged.get(known.family, [])
        if trial is not None and measured:
            advice, reasons = _by_evidence(trial, name, measured)
        steps.append(_step(situation, name, advice, reasons, measured))
    order = {"ship": 0, "tried": 1, TRY: 1, REFERENCE: 1, WAIT: 2, SKIP: 3}
    steps.sort(key=lambda step: order[step.advice])  # stable: simple before complex
    return Advice(
        headline=_headline(steps, trial),
        steps=tuple(steps),
        trial=None if trial is None else str(trial.get("id") or trial.get("created") or ""),
    )


def _classical(s: Situation) -> tuple[str, list[str]]:
    if s.labelled_rows < CLASSICAL_ROWS:
        return WAIT, [
            f"{s.labelled_rows:,} labelled rows are too few to learn words from: label {CLASSICAL_ROWS} or more."
        ]
    reasons = [
        "It is fitted in seconds, answers in milliseconds, and is what any model has to be worth its cost against."
    ]
    if s.needs_facts:
        reasons.append("It sees the text alone: where facts are missing it will not find them.")
    return TRY, reasons


def _prompt(s: Situation) -> tuple[str, list[str]]:
    reasons = ["It takes about a day and shows what is missing: form, or facts."]
    if s.labelled_rows < 200:
        reasons.append("Label 200 test rows first: without them nobody can say whether a prompt is good.")
    if _many(s):
        reasons.append(f"At {s.calls_per_month:,.0f} calls a month its long prompt is paid for with every call.")
    return TRY, reasons


def _retrieval(s: Situation) -> tuple[str, list[str]]:
    why = [
        *(["the content changes"] if s.facts_change else []),
        *(["sources have to be cited"] if s.cite_sources else []),
        *(["facts are what is missing"] if s.problem != "format" else []),
    ]
    if why:
        reasons = [f"{_listed(why).capitalize()}: that is what retrieval is for, and no training replaces it."]
        if s.latency_ms is not None and s.latency_ms < SLOW_MS:
            reasons.append(f"It makes the prompt longer: measure whether {s.latency_ms:g} ms can be kept.")
        return TRY, reasons
    if s.labelled_rows >= SHOT_ROWS:
        return TRY, [
            "No facts are missing, but the labelled rows nearest to an input can stand in its prompt as examples."
        ]
    return SKIP, ["No facts are missing, and documents do not teach a form."]


def _hosted(s: Situation) -> tuple[str, list[str]]:
    if s.private:
        return SKIP, ["The texts may not leave the house."]
    reasons = [
        "It says what is possible: where it beats a tuned model, the data or the training are at fault, not the idea."
    ]
    if s.latency_ms is not None and s.latency_ms < SLOW_MS:
        reasons.append(f"It will hardly answer within {s.latency_ms:g} ms: as a reference only.")
        return REFERENCE, reasons
    if _many(s):
        reasons.append(f"At {s.calls_per_month:,.0f} calls a month it is dear: as a reference only.")
        return REFERENCE, reasons
    return TRY, reasons


def _lora(s: Situation) -> tuple[str, list[str]]:
    against = []
    if s.problem == "knowledge":
        against.append("Facts are what is missing, and tuning teaches form: it would learn to sound sure.")
    if s.task_changes:
        against.append("The task changes often: every change is a new training set.")
    if not s.gpu and not s.small_model:
        against.append("There is no GPU to train and serve on.")
    if against:
        return SKIP, against
    if s.labelled_rows < LEAST_ROWS:
        few = "it would memorise them" if s.labelled_rows < MEMORISED else f"{LEAST_ROWS} are the least"
        return WAIT, [f"{s.labelled_rows:,} labelled rows: {few}. Label more; {GOOD_ROWS:,} good ones are ideal."]
    enough = "enough" if s.labelled_rows >= GOOD_ROWS else f"enough to begin ({GOOD_ROWS:,} are ideal)"
    reasons = [f"{s.labelled_rows:,} labelled rows are {enough}.", *_payback(s)]
    if s.latency_ms is not None and s.latency_ms < SLOW_MS:
        reasons.append(f"A small tuned model with a short prompt can keep {s.latency_ms:g} ms.")
    if s.problem == "both":
        reasons.append("It will learn the form; the facts still have to come from retrieval.")
    if not _many(s) and s.latency_ms is None and not s.private:
        return WAIT, [*reasons, "Only where prompt and retrieval have been measured and are not good enough."]
    return TRY, [
        *reasons,
        "After prompt and retrieval have been measured, and only if it beats them outside the noise.",
    ]


def _full(s: Situation) -> tuple[str, list[str]]:
    return SKIP, ["Only after an adapter of high rank was tried and is too small, which is rare."]


_RULES = {
    "classical": _classical,
    "prompt": _prompt,
    "retrieval": _retrieval,
    "hosted": _hosted,
    "lora": _lora,
    "full": _full,
}


def _saved(s: Situation) -> float:
    """Money a month that tuned calls cost less than hosted ones, by the rule of thumb."""
    return (HOSTED_PER_1K - TUNED_PER_1K) * s.calls_per_month / 1000


def _many(s: Situation) -> bool:
    """The volume is high: cheaper calls pay for the work of tuning within a year."""
    if s.private:
        return s.calls_per_month >= MUCH
    return _saved(s) * PAYS_WITHIN >= STEPS["lora"].days[1] * s.day_cost


def _payback(s: Situation) -> list[str]:
    if s.private or not _saved(s):
        return []
    first, last = STEPS["lora"].days
    low, high = (days * s.day_cost / _saved(s) for days in (first, last))
    return [
        f"Against a hosted model it saves about {_saved(s):,.0f} a month at {s.calls_per_month:,.0f} calls, which pays "
        f"its {first:g}–{last:g} days of work in {_months(low)} to {_months(high)} months."
    ]


def _months(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _judged(trial: Mapping[str, Any] | None) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in (trial or {}).get("approaches", ()):
        found.setdefault(str(one.get("family")), []).append(one)
    return found


def _by_evidence(trial: Mapping[str, Any], name: str, measured: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """What the trial says in place of the rule of thumb."""
    verdict = trial["verdict"]
    names = [str(one["name"]) for one in measured]
    if verdict["ship"] in names:
        return "ship", [str(line) for line in verdict["because"][:1]]
    about = [
        str(line)
        for line in (*verdict["because"], *verdict["needs"])
        if any(str(line).startswith(f"{one} ") for one in names) or (name == "lora" and str(line).startswith("Tuning "))
    ]
    return "tried", about or [f"It was judged, and {verdict['ship']} ships."]


def _step(s: Situation, name: str, advice: str, reasons: Sequence[str], measured: Sequence[Mapping[str, Any]]) -> Step:
    known = STEPS[name]
    low, high = known.days
    days = f"about {_days(high)}" if low == high else f"{_days(low)} to {_days(high)}"
    return Step(
        name=name,
        title=known.title,
        advice=advice,
        reasons=tuple(reasons),
        use_when=known.use_when,
        not_when=known.not_when,
        time=f"{days} of work (rule of thumb)",
        cost=_measured_cost(s, measured) if measured else _thumb_cost(s, name),
        measured="; ".join(_figures(one) for one in measured),
        next=known.next,
    )


def _thumb_cost(s: Situation, name: str) -> str:
    volume, work = s.calls_per_month / 1000, [days * s.day_cost for days in STEPS[name].days]
    per_1k = {"classical": 0.001, "lora": TUNED_PER_1K, "full": TUNED_PER_1K, "hosted": HOSTED_PER_1K}.get(name)
    if name in ("prompt", "retrieval"):
        per_1k = None if s.private else HOSTED_PER_1K
    labour = f"{work[0]:,.0f} to {work[1]:,.0f} of work" if work[0] != work[1] else f"{work[0]:,.0f} of work"
    if per_1k is None:
        return f"{labour}; calls by the hour of an own machine, dearer the longer the prompt (rule of thumb)"
    return f"{labour}; about {per_1k * volume:,.2f} a month at {per_1k:g} per 1,000 calls (rule of thumb)"


def _measured_cost(s: Situation, measured: Sequence[Mapping[str, Any]]) -> str:
    cheapest = min(measured, key=lambda one: float(one["cost_per_1k_calls"]))
    each = float(cheapest["cost_per_1k_calls"])
    return f"{each:.2g} per 1,000 calls measured: {each * s.calls_per_month / 1000:,.2f} a month"


def _figures(one: Mapping[str, Any]) -> str:
    right, p95 = one["accuracy"], (one.get("latency_ms") or {}).get("p95")
    speed = "" if p95 is None else f", p95 {p95:,.0f} ms"
    span = f"{100 * right['low']:.1f}–{100 * right['high']:.1f}"
    cost = float(one["cost_per_1k_calls"])
    return f"{one['name']}: {100 * right['value']:.1f}% ({span}), {cost:.2g} per 1,000 calls{speed}"


def _headline(steps: Sequence[Step], trial: Mapping[str, Any] | None) -> str:
    if trial is not None:
        rows = trial.get("data", {}).get("rows", {}).get("test")
        on = f" on {rows:,} test rows" if isinstance(rows, int) else ""
        if trial["verdict"]["ship"] == "majority":
            return f"Nothing tried{on} is worth shipping yet: look at the audit, and at what was not tried below."
        return f"Ship {trial['verdict']['ship']}: so says the trial{on} of {str(trial.get('created', ''))[:10]}."
    tries = [step.title for step in steps if step.advice in (TRY, REFERENCE)]
    return f"Try in this order: {', then '.join(tries)}. Stop at the first that is good enough."


def _days(value: float) -> str:
    if value < 1:
        return "an hour" if value <= 0.2 else "half a day"
    if value == 1:
        return "a day"
    return f"{value / 5:.0f} week{'' if value == 5 else 's'}" if value % 5 == 0 else f"{value:g} days"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
