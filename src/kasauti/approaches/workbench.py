"""What approaches share: the task, the recipe, the frozen template, and one loaded network at a time.

Walks in: a task. Walks out: models, lazily; nothing heavy is imported before a model is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kasauti.core.errors import TaskError
from kasauti.core.progress import Progress, silent
from kasauti.core.types import Prediction, Task

if TYPE_CHECKING:
    from kasauti.approaches.embedder import Embedder
    from kasauti.chat.frozen import FrozenTemplate
    from kasauti.model.load import Loaded
    from kasauti.train.recipe import Recipe
    from kasauti.train.search import Variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A fitted approach that another one is made of."""

    folder: Path
    """What its `load` reads."""
    held_out: Sequence[Prediction]
    """For the calibration rows, each by a calibration that was not fitted on it."""
    fit_seconds: float


class Workbench:
    """Loads on demand and remembers.

    `members` holds, by name, the approaches that are fitted already, for one that is made of others; whoever fits puts
    them there.

    Args:
        task: the task.
        progress: told how far long work is.
    """

    def __init__(self, task: Task, progress: Progress = silent) -> None:
        self.task, self.progress = task, progress
        self._tokenizer: Any = None
        self._frozen: FrozenTemplate | None = None
        self._held: tuple[str, Loaded] | None = None
        self._size: tuple[int, int | None] | None = None
        self._embedder: Embedder | None = None
        self.members: dict[str, Member] = {}

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, without its weights."""
        if self._tokenizer is None:
            from kasauti.model.load import load_tokenizer

            self._tokenizer = load_tokenizer(self.task.model, self.task.folder)
        return self._tokenizer

    @property
    def frozen(self) -> FrozenTemplate:
        """The chat template, frozen."""
        if self._frozen is None:
            from kasauti.chat.template import freeze

            self._frozen = freeze(self.tokenizer, named=self.task.chat_template, folder=self.task.folder)
        return self._frozen

    @property
    def embedder(self) -> Embedder | None:
        """The embedding model that the task names, nothing loaded yet; None where it names none."""
        if self._embedder is None and self.task.embedding_model is not None:
            from kasauti.approaches.embedder import Embedder

            self._embedder = Embedder(self.task.embedding_model, self.task.folder)
        return self._embedder

    @property
    def needed_embedder(self) -> Embedder:
        """The embedding model, for what cannot do without. Raises `TaskError` where the task names none."""
        if self.embedder is None:
            mend = "Name a sentence-transformers model: an id, or a folder."
            raise TaskError("no embedding model is named", where="task.yaml: embedding_model", mend=mend)
        return self.embedder

    @property
    def model_sha256(self) -> str:
        """Hash of the model's files."""
        from kasauti.model.load import model_hash

        return model_hash(self.task.model, self.task.folder)

    def fresh(self) -> Loaded:
        """A new copy of the base model, for who will change it; the one held is let go first, to have memory for one
        only. In 4 bit where the adapter is trained so: it belongs to those weights."""
        from kasauti.model.load import load

        self._held = None
        return load(self.task.model, self.task.folder, four_bit=self.four_bit)

    def let_go(self) -> None:
        """Forget the network that is held, so that there is room for another."""
        self._held = None

    @property
    def four_bit(self) -> bool:
        """Whether every approach asks the base model in 4 bit."""
        return self.task.train.get("method") == "qlora"

    def loaded(self, adapter: str | None = None) -> Loaded:
        """The base model, or the base model with the adapter of a folder, in eval mode; kept until another is asked
        for.

        Raises:
            ModelError: model or adapter cannot be loaded.
            TemplateError: the adapter was trained with another template than this tokenizer's.
        """
        key = adapter or ""
        if self._held is None or self._held[0] != key:
            self._held = (key, self._with_adapter(adapter) if adapter else self.fresh())
        return self._held[1]

    def _with_adapter(self, folder: str) -> Loaded:
        import dataclasses
        from pathlib import Path

        from kasauti.chat.frozen import FrozenTemplate
        from kasauti.chat.template import check_same
        from kasauti.model.adapters import load_adapter
        from kasauti.model.load import load

        check_same(FrozenTemplate.load(folder), self.tokenizer)
        if Path(folder, "adapter_config.json").exists():
            base = self.fresh()
            return dataclasses.replace(base, model=load_adapter(base.model, folder))
        self._held = None
        return load(folder, self.task.folder)

    @property
    def recipe(self) -> Recipe:
        """The recipe for this model and any number of rows, with what the task file sets; the model's weights are not
        read for it."""
        return self.recipe_for(None)

    def variants(self, rows: int) -> list[Variant]:
        """The recipes that are tried for so many training rows: the task's, and those of its `train.search`."""
        from kasauti.train.search import variants_of

        return variants_of(self.task.train, lambda settings: self.recipe_for(rows, settings))

    def recipe_for(self, rows: int | None, settings: Mapping[str, Any] | None = None) -> Recipe:
        """The recipe for so many training rows, by the task file or by other settings."""
        from kasauti.train.recipe import recipe_for

        if self._size is None:
            from kasauti.model.adapters import count
            from kasauti.model.load import window_of, without_weights

            empty = without_weights(self.task.model, self.task.folder)
            self._size = (count(empty)[1], window_of(empty))
        parameters, window = self._size
        given = self.task.train if settings is None else settings
        return recipe_for(given, parameters, self.task.seed, window=window, rows=rows)
