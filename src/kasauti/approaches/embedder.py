"""Texts as unit vectors, by the sentence-transformers model that the task names: alike texts lie near each other.

Walks in: the model's name, texts. Walks out: float32 [texts, size], each row of length 1, so that a product is a
cosine. It knows no rows and no labels. The library is an extra, and imported when the first text is embedded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kasauti.core.errors import ModelError, UsageError
from kasauti.core.files import content_hash, folder_hash
from kasauti.core.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 64
CHUNK = 512
"""Texts between two reports of progress; sorted by length within, so padding stays small."""
REMEMBERED = 20_000
"""Texts whose vectors are kept: rows that fits read, which several approaches ask for. 384 numbers each: 31 MB."""
WHERE = "task.yaml: embedding_model"


def installed() -> bool:
    """Whether the library is there; it is not imported for the answer."""
    return find_spec("sentence_transformers") is not None


class Embedder:
    """One embedding model, loaded when it is first needed.

    Args:
        name: a folder (a relative one lies beside the task file) or a Hugging Face id.
        task_folder: the folder of `task.yaml`.
    """

    def __init__(self, name: str, task_folder: str) -> None:
        self.name, self.task_folder = name, task_folder
        self._model: Any = None
        self._sha256: str | None = None
        self._known: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    @property
    def path(self) -> str:
        """The folder, or the id.

        Raises:
            ModelError: a folder that is none, or that holds no such model.
        """
        folder = Path(self.task_folder, self.name).expanduser()
        if folder.is_dir():
            if not any((folder / file).exists() for file in ("modules.json", "config.json")):
                mend = "Name a folder with modules.json or config.json, as sentence-transformers saves it."
                raise ModelError(f"{self.name!r} holds no embedding model", where=WHERE, mend=mend)
            return str(folder.resolve())
        if self.name.startswith((".", "/", "~")) or self.name.count("/") > 1:
            mend = "Give a folder, or a Hugging Face id."
            raise ModelError(f"there is no folder {self.name!r}", where=WHERE, mend=mend)
        return self.name

    @property
    def sha256(self) -> str:
        """Hash of the folder's files; for a Hugging Face id, of its commit.

        Raises:
            ModelError: the model cannot be found.
        """
        if self._sha256 is None:
            path = self.path
            self._sha256 = folder_hash(path) if Path(path).is_dir() else content_hash([path, _commit(path)])
        return self._sha256

    def check(self, sha256: str) -> None:
        """Refuse to go on with another model than the one that something was fitted with.

        Raises:
            ModelError: its hash is another one.
        """
        if self.sha256 != sha256:
            mend = "Put back the model that was judged, or run `kasauti trial` again."
            raise ModelError(
                f"the embedding model has the hash {self.sha256[:12]}, not {sha256[:12]}", where=WHERE, mend=mend
            )

    @property
    def model(self) -> Any:
        """The loaded model.

        Raises:
            UsageError: the library is not installed.
            ModelError: the model cannot be loaded.
        """
        if self._model is None:
            path = self.path
            if not installed():
                mend = "Install it: pip install 'kasauti[embeddings]'."
                raise UsageError("sentence-transformers is not installed", where=WHERE, mend=mend)
            from kasauti.model.load import quiet

            quiet()  # before the library is imported: some of what it says is said then
            from sentence_transformers import SentenceTransformer

            try:
                self._model = SentenceTransformer(path).eval()
            except Exception as error:  # the library, the Hub and the model's own files raise what they like
                said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                mend = "Check the name, or download the model and give its folder."
                raise ModelError(f"{self.name!r} cannot be loaded: {said}", where=WHERE, mend=mend) from error
        return self._model

    def ready(self) -> None:
        """Load the model now, so that no answer waits for it. Raises as `model` does."""
        _ = self.model

    def embed(
        self, texts: Sequence[str], progress: Progress = silent, stage: str = "embed", *, remember: bool = False
    ) -> NDArray[np.float32]:
        """Unit vectors, float32 [texts, size] ([0, 0] for none).

        Args:
            texts: any; equal ones are computed once.
            progress, stage: told how far it is, and under which name.
            remember: take what was computed for an earlier call, and keep what this one computes. For rows that a fit
                reads; never for answers, whose time would not be that of a text that is new.
        """
        import numpy as np

        known = self._known if remember else {}
        new = sorted({text for text in texts if text not in known}, key=lambda text: (len(text), text))
        made: dict[str, NDArray[np.float32]] = {}
        for at in range(0, len(new), CHUNK):
            progress(stage, at, len(new))
            some = new[at : at + CHUNK]
            vectors = self.model.encode(
                some, batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
            )
            made.update(zip(some, np.asarray(vectors, dtype=np.float32), strict=True))
        if new:
            progress(stage, len(new), len(new))
        rows = [made[text] if text in made else known[text] for text in texts]
        if remember:
            self._known.update(made)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)


def _commit(name: str) -> str:
    """The commit of a Hugging Face id: what lies in the cache is what is loaded, so it comes first."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    for file in ("modules.json", "config.json"):
        cached = try_to_load_from_cache(name, file)
        if isinstance(cached, str):
            return Path(cached).parent.name
    try:
        return HfApi().model_info(name).sha or ""
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        mend = "Check the spelling of the id and the network, or download it and give its folder."
        raise ModelError(f"the embedding model {name!r} cannot be found: {said}", where=WHERE, mend=mend) from error
