"""The model asked for free text: untrained, with or without instructions, or with an adapter trained on the rows.

Walks in: a bench, rows. Walks out: one `Prediction` a row, its answer the text that the model wrote up to the end of
its turn. For kinds of task whose answer is no label: there is no posterior over all possible texts, and so no
confidence.

How much may be written follows from the training answers: half as much again as the longest of them. What has not ended
by then is no answer: it would have gone on.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kasauti.approaches.workbench import Workbench
from kasauti.chat.render import Renderer
from kasauti.core.errors import SupervisionError
from kasauti.core.files import read_json, write_json
from kasauti.core.types import Ended, Example, Message, Prediction
from kasauti.data.conversation import messages

if TYPE_CHECKING:
    from kasauti.model.constrain import Grammar
    from kasauti.model.load import Loaded
    from kasauti.train.recipe import Recipe
    from kasauti.train.run import Run
    from kasauti.train.search import Searched

MORE = 1.5
"""An answer may have so many times the tokens of the longest training answer."""
SLACK = 8
"""Tokens on top of that, for short answers."""

Tell = Callable[[str], None]
"""Is handed a text that grows, the whole of it each time."""


class Written:
    """What all of them share."""

    name = ""
    family = ""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.most = 0
        self.chosen: dict[str, Any] = {}
        self._grammar: Grammar | None = None

    def conversation(self, example: Example) -> Sequence[Message]:
        """The turns that end with the user's."""
        raise NotImplementedError

    def loaded(self) -> Loaded:
        """The network to ask."""
        return self.bench.loaded()

    def window(self) -> int:
        """Tokens that a prompt and its answer may have together."""
        return self.bench.recipe.length

    def longest(self, train: Sequence[Example]) -> int:
        """Tokens that an answer may have.

        Raises:
            SupervisionError: no room would be left for a question.
        """
        texts = [row.answer for row in train if row.answer]
        lengths = map(len, self.bench.tokenizer(texts, add_special_tokens=False)["input_ids"])
        most, window = int(MORE * max(lengths, default=0)) + SLACK, self.window()
        if most >= window:
            raise SupervisionError(
                f"answers of up to {most} tokens leave no room for a question in {window}",
                where="training rows",
                mend="allow more tokens (train: length), or leave the longest answers out",
            )
        return most

    def grammar(self, tokenizer: Any, end_ids: Sequence[int]) -> Grammar | None:
        """What answers have to be, where the task names a schema."""
        from kasauti.measure.schema import schema_of

        if self.bench.task.scoring.schema is None:
            return None
        if self._grammar is None:
            from kasauti.model.constrain import Grammar

            self._grammar = Grammar(schema_of(self.bench.task), tokenizer, end_ids)
        return self._grammar

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        self.most = self.longest(train)
        self.chosen = {"most_tokens": self.most}
        return self

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        return self.write(examples)

    def write(
        self, examples: Sequence[Example], tell: Sequence[Tell | None] = (), most: Sequence[int | None] = ()
    ) -> list[Prediction]:
        """`predict`, told while it goes on.

        Args:
            tell: for each row who is handed its text as it grows, in this thread; None for nobody.
            most: for each row the tokens that it may have, where that is less than any answer may; None for those.
        """
        from kasauti.model.generate import generate
        from kasauti.model.prefix import compute_prefix

        loaded = self.loaded()  # loads the model, which is not part of an answer's time
        renderer, limit = Renderer(self.bench.frozen, loaded.tokenizer), self.window() - self.most
        prompts = [renderer.render_prompt(self.conversation(example), limit=limit) for example in examples]
        done, began = 0, time.perf_counter()
        shared = _shared(prompts)

        def count(rows: int) -> None:
            nonlocal done
            done += rows
            self.bench.progress(self.name, done, len(examples))

        bounds = [min(self.most, one or self.most) for one in most] or [self.most] * len(prompts)
        made = generate(
            loaded.model,
            prompts,
            end_ids=renderer.stop_ids,
            max_new_tokens=max(bounds, default=self.most),
            grammar=self.grammar(loaded.tokenizer, renderer.stop_ids),
            prefix=compute_prefix(loaded.model, shared) if len(prompts) > 1 and shared else None,
            progress=count,
            told=_teller(renderer, tell, bounds) if any(tell) else None,
        )
        seconds = (time.perf_counter() - began) / max(1, len(prompts))
        given = []
        for text, prompt, bound in zip(made, prompts, bounds, strict=True):
            raw = renderer.parse_answer(text.ids[:bound])
            ended = text.ended and len(text.ids) <= bound
            given.append(
                Prediction(
                    answer=raw if ended else None,
                    ended=Ended.ANSWERED if ended else Ended.UNPARSABLE,
                    raw=raw,
                    seconds=seconds,
                    input_tokens=len(prompt),
                    output_tokens=len(text.ids[:bound]) + ended,
                )
            )
        return given

    def save(self, folder: str) -> None:
        write_json(Path(folder) / f"{self.family}.json", {"most": self.most, "chosen": self.chosen})

    def load(self, folder: str) -> Self:
        kept = read_json(Path(folder) / f"{self.family}.json")
        self.most, self.chosen = int(kept["most"]), dict(kept["chosen"])
        return self

    def about(self) -> Mapping[str, Any]:
        return self.chosen


class WrittenNone(Written):
    """The input alone."""

    name = "prompt_none"
    family = "prompt"

    def conversation(self, example: Example) -> Sequence[Message]:
        earlier = [turn for turn in example.history if turn.role != "system"]
        return [*earlier, Message(role="user", content=example.text)]


class WrittenInstructions(Written):
    """The task's instructions, then the input."""

    name = "prompt_instructions"
    family = "prompt"

    def conversation(self, example: Example) -> Sequence[Message]:
        return messages(self.bench.task, example, with_answer=False)


class WrittenTuned(Written):
    """An adapter by the task's recipe, asked as it was trained; the checkpoint with the lowest validation loss."""

    name = "tuned"
    family = "tuned"

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self.adapter = ""

    def conversation(self, example: Example) -> Sequence[Message]:
        return messages(self.bench.task, example, with_answer=False)

    def loaded(self) -> Loaded:
        return self.bench.loaded(self.adapter)

    def trained(self, train: Sequence[Example], choose: Sequence[Example]) -> Run:
        """The finished run, the best of a search where the task has one: found, gone on with, or made."""
        return self.searched(train, choose).run

    def searched(self, train: Sequence[Example], choose: Sequence[Example]) -> Searched:
        """The finished runs of all recipes that are tried, and the best of them."""
        from kasauti.train.run import train_adapter
        from kasauti.train.search import minutes_of, search

        bench = self.bench

        def one(recipe: Recipe) -> Run:
            return train_adapter(
                bench.task,
                train,
                choose,
                bench.fresh,
                bench.frozen,
                recipe,
                model_sha256=bench.model_sha256,
                progress=bench.progress,
            )

        variants, minutes = bench.variants(len(train)), minutes_of(bench.task.train)
        return search(bench.task.folder, variants, one, minutes, bench.progress)

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        super().fit(train, choose, calibrate)
        found = self.searched(train, choose)
        run = found.run
        self.adapter = str(run.adapter)
        self.chosen |= {
            "run": run.id,
            "fit_seconds": sum(one["seconds"] for one in found.tried),
            **found.about(),
            **{name: run.summary[name] for name in ("parameters", "recipe", "curve", "findings")},
        }
        return self

    def save(self, folder: str) -> None:
        shutil.copytree(self.adapter, Path(folder) / "adapter", dirs_exist_ok=True)
        super().save(folder)

    def load(self, folder: str) -> Self:
        inner = Path(folder) / "adapter"  # a version has the adapter's files at its top, as model folders do
        self.adapter = str(inner if inner.is_dir() else folder)
        return super().load(folder)


def _teller(renderer: Renderer, tell: Sequence[Tell | None], bounds: Sequence[int]) -> Callable[[int, int], None]:
    """Tokens of many rows as growing texts. A letter of which only the first bytes are there is waited for."""
    written: list[list[int]] = [[] for _ in tell]

    def told(row: int, token: int) -> None:
        ids, hear = written[row], tell[row]
        if hear is not None and len(ids) < bounds[row]:
            ids.append(token)
            hear(renderer.parse_answer(ids).rstrip("\ufffd"))

    return told


def _shared(prompts: Sequence[Sequence[int]]) -> list[int]:
    """What all prompts begin with; something of every one is left."""
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False))
    return [column[0] for column in alike][: min(map(len, prompts), default=1) - 1]
