"""Asks a network for labels: the exact posterior, and free generation beside it.

Walks in: a loaded model, a frozen template, conversations. Walks out: log-probabilities, predictions. It does not
know which approach asks, and never reads an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kasauti.chat.render import Renderer
from kasauti.chat.supervise import supervise_rows
from kasauti.core.progress import Progress, silent
from kasauti.core.types import Ended, Example, Message, Prediction, Task
from kasauti.model.labels import build_trie
from kasauti.model.load import Loaded, window_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kasauti.chat.frozen import FrozenTemplate
    from kasauti.model.engine import Engine

Conversation = Sequence[Message]
SLACK = 8
"""Tokens that free generation may go on beyond the longest label before it is cut."""


class Asker:
    """One model, one template, one set of labels.

    Args:
        loaded: the model, adapter attached or not.
        frozen: the template it was trained with.
        task: its labels are the possible answers.
        build: a row as a conversation that ends with the user's turn.
        most: tokens that prompt and answer may have together; None for the model's window.
    """

    def __init__(
        self,
        loaded: Loaded,
        frozen: FrozenTemplate,
        task: Task,
        build: Callable[[Example], Conversation],
        most: int | None = None,
    ) -> None:
        self.loaded, self.task, self.build = loaded, task, build
        self.renderer = Renderer(frozen, loaded.tokenizer)
        self.labels = tuple(task.labels)
        self.trie, self.reserve = self._trie(frozen)
        longest = min(x for x in (most, window_of(loaded.model), 10**9) if x)
        self.limit = longest - self.reserve
        self._engine: Any = None
        self._beginning: tuple[int, ...] | None = None

    def _trie(self, frozen: FrozenTemplate) -> tuple[Any, int]:
        probe = [Message(role="user", content="a")]
        rows = list(supervise_rows(frozen, self.loaded.tokenizer, [(0, probe, label) for label in self.labels]))
        ids = {label: [i for i in row.labels if i != -100] for label, row in zip(self.labels, rows, strict=True)}
        return build_trie(ids), max(len(row.ids) - row.prefix_length for row in rows)

    def prompts(self, examples: Sequence[Example]) -> list[list[int]]:
        """Token ids to ask with; a user text that is too long loses its middle, as it did in training."""
        conversations = [self.build(example) for example in examples]
        made = self.renderer.render_prompts(conversations)
        return [
            ids if len(ids) <= self.limit else self.renderer.render_prompt(conversation, limit=self.limit)
            for ids, conversation in zip(made, conversations, strict=True)
        ]

    def log_probabilities(
        self, examples: Sequence[Example], progress: Progress = silent, stage: str = "answer"
    ) -> NDArray[np.float64]:
        """log P(label | row) among all that the model could write, [rows, labels]; not normalised over the labels."""
        done = 0

        def tell(rows: int) -> None:
            nonlocal done
            done += rows
            progress(stage, done, len(examples))

        logs: NDArray[np.float64] = self.engine.log_probabilities(
            self.prompts(examples), self.trie, beginning=self.beginning or None, normalise=False, progress=tell
        )
        return logs

    @property
    def engine(self) -> Engine:
        """What scores labels; keeps what every prompt begins with for as long as the weights stay as they are."""
        if self._engine is None:
            from kasauti.model.engine import Engine

            self._engine = Engine(self.loaded.model)
        made: Engine = self._engine
        return made

    @property
    def beginning(self) -> tuple[int, ...]:
        """The ids that every prompt begins with, whatever the row says; none where there are none.

        Found on the ids of whole prompts that differ in what the row says, so that a token which reaches over the
        border is not among them.
        """
        if self._beginning is None:
            self._beginning = self._find_beginning()
        return self._beginning

    def _find_beginning(self) -> tuple[int, ...]:
        from kasauti.train.constant import fixed_ids

        fixed = fixed_ids(self.task, self.renderer, self.build)
        return tuple(fixed) if 0 < len(fixed) < self.limit else ()

    def generate(
        self, examples: Sequence[Example], progress: Progress = silent, stage: str = "generate"
    ) -> list[Prediction]:
        """What the model writes when it is left to write: greedy, until it ends its turn; text that is no label is
        unparsable."""
        from kasauti.model.generate import generate

        prompts = self.prompts(examples)
        longest = max(len(path) for path in self.trie.label_edges)
        done, began = 0, time.perf_counter()

        def tell(rows: int) -> None:
            nonlocal done
            done += rows
            progress(stage, done, len(examples))

        texts = generate(
            self.loaded.model,
            prompts,
            end_ids=self.renderer.stop_ids,
            max_new_tokens=longest + SLACK,
            prefix=self.engine.prefix(self.beginning),
            progress=tell,
        )
        seconds = (time.perf_counter() - began) / max(1, len(prompts))
        made = []
        for text, prompt in zip(texts, prompts, strict=True):
            raw = self.renderer.parse_answer(text.ids, answers=self.labels)
            valid = text.ended and raw in self.task.labels
            made.append(
                Prediction(
                    answer=raw if valid else None,
                    ended=Ended.ANSWERED if valid else Ended.UNPARSABLE,
                    raw=raw,
                    seconds=seconds,
                    input_tokens=len(prompt),
                    output_tokens=len(text.ids) + text.ended,
                )
            )
        return made
