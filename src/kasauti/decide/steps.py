"""The steps of the decision framework: when each is right, when it is not, what it takes.

Walks in: nothing. Walks out: a table, from simple to complex. It does not know any situation; `advise.py` reads it.
"""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """What is usually so of one way to answer a task."""

    title: str
    family: str
    """Of approaches in a trial."""
    days: tuple[float, float]
    """Working days that it takes a person, from and to."""
    use_when: str
    not_when: str
    next: str
    """A command, or a sentence."""


STEPS: dict[str, Known] = {
    "classical": Known(
        title="Classical classifier",
        family="classical",
        days=(0.1, 1),
        use_when="the answer is one of a list, and some tens of rows a label are there",
        not_when="the answer is free text, or depends on facts outside the text",
        next="kasauti trial --approaches majority,classical",
    ),
    "prompt": Known(
        title="Prompt",
        family="prompt",
        days=(1, 1),
        use_when="the task is within the model's ability, the format can be said in words, it fits the context, and "
        "the volume is low",
        not_when="the answer needs facts that the model lacks, or a consistency that instructions do not give",
        next="kasauti trial --approaches majority,prompt_instructions,prompt_optimised",
    ),
    "retrieval": Known(
        title="Retrieval (RAG)",
        family="retrieval",
        days=(5, 10),
        use_when="the answer needs facts that are not in the model, the content changes, or sources have to be cited",
        not_when="the model knows enough and gets the form wrong: documents do not teach a form",
        next="documents: `knowledge` in task.yaml; labelled rows: kasauti trial --approaches majority,retrieval",
    ),
    "hosted": Known(
        title="Hosted model with the best prompt",
        family="hosted",
        days=(0.2, 1),
        use_when="texts may leave the house and volume is low; or to know what is possible at all",
        not_when="texts are private, or the price of a call counts",
        next="add `hosted` to task.yaml, then kasauti trial --dry-run",
    ),
    "lora": Known(
        title="Tuned adapter (LoRA)",
        family="tuned",
        days=(10, 20),
        use_when="prompting does not give consistent style or labels, volume is high, and there are 500 labelled rows "
        "or more",
        not_when="there are fewer than 500 rows, the task changes often, there is no GPU, or facts are what is missing",
        next="kasauti plan, then kasauti trial",
    ),
    "full": Known(
        title="Full fine-tuning",
        family="tuned, method: full",
        days=(20, 60),
        use_when="almost never: LoRA reaches about 95% of its quality at about 10% of its cost",
        not_when="an adapter has not been tried and found to be too small first",
        next="train: {method: full} in task.yaml, after an adapter with r: 64",
    ),
}
"""From simple to complex."""
