"""Everything that answers a labelling task from a causal language model, behind one function each.

Walks in: a network, questions, a number of texts. Walks out: of every text the index of its label, -1 for an answer
that is none. It does not know time.

An engine is made once (what it may compute ahead of texts, it does there) and then asked. One whose library is not
installed, or does not take this network, raises when it is made.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from answer.network import END, Questions, spelled, tokenizer, word

NEW = 20
"""Tokens that the usual loop generates."""
BATCH = 32
"""Texts (or, where an engine's texts each become many, sequences) in a batch of theirs."""
Ask = Callable[[int], list[int]]
"""The answers to the first so many texts."""


def _label_of(asked: Questions, generated: Sequence[int]) -> int:
    ids = list(generated)
    cut = ids[: ids.index(END) + 1] if END in ids else ids
    return next((at for at, label in enumerate(asked.labels.values()) if label == cut), -1)


def usual_loop(model: Any, asked: Questions) -> Ask:
    """`generate` for one text after the other, 20 new tokens."""
    return _one_by_one(model, asked, min_new_tokens=NEW)


def usual_loop_stopping(model: Any, asked: Questions) -> Ask:
    """The same, stopping where the model ends its turn."""
    return _one_by_one(model, asked)


def _one_by_one(model: Any, asked: Questions, **more: Any) -> Ask:
    if more:  # the model's own settings stop at the end of the turn; with none to stop at, 20 are made
        more = {"eos_token_id": None, **more}

    def ask(count: int) -> list[int]:
        made = []
        for prompt in asked.prompts(count):
            ids = torch.tensor([prompt])
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, pad_token_id=END, **more
            )
            made.append(_label_of(asked, out[0, len(prompt) :].tolist()))
        return made

    return ask


def batched_generate(model: Any, asked: Questions) -> Ask:
    """`generate` for padded batches, 20 new tokens at most; a batch stops when all its texts have."""

    def ask(count: int) -> list[int]:
        made = []
        prompts = asked.prompts(count)
        for start in range(0, count, BATCH):
            some = prompts[start : start + BATCH]
            longest = max(map(len, some))
            ids = torch.tensor([[END] * (longest - len(p)) + p for p in some])
            mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in some])
            out = model.generate(ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False, pad_token_id=END)
            made += [_label_of(asked, row) for row in out[:, longest:].tolist()]
        return made

    return ask


def lm_eval(model: Any, asked: Questions) -> Ask:
    """The log-likelihood requests of lm-evaluation-harness: one a label."""
    with _silence():
        from lm_eval.models.huggingface import HFLM

        words = tokenizer(model.config.vocab_size)
        harness = HFLM(pretrained=model, tokenizer=words, batch_size=BATCH, device="cpu", add_bos_token=False)
    labels = list(asked.labels.values())

    def ask(count: int) -> list[int]:
        requests = [(("", ""), prompt, label) for prompt in asked.prompts(count) for label in labels]
        with _silence():
            scores = harness._loglikelihood_tokens(requests, disable_tqdm=True)
        return _argmax([score for score, _ in scores], len(labels))

    return ask


def cappr(model: Any, asked: Questions) -> Ask:
    """CAPPr with the beginning in its cache; log-probabilities summed over the whole label."""
    _caches_as_tuples()
    with _silence():
        from cappr.huggingface.classify import cache_model, log_probs_conditional

        kept = cache_model((model, tokenizer(model.config.vocab_size)), spelled(asked.beginning))
    labels = [spelled(ids) for ids in asked.labels.values()]

    def ask(count: int) -> list[int]:
        texts = [spelled(text) for text in asked.texts[:count]]
        with _silence():
            logs = log_probs_conditional(texts, labels, kept, show_progress_bar=False, batch_size=4)
        return [int(np.argmax([sum(one) for one in row])) for row in logs]

    return ask


def _caches_as_tuples() -> None:
    """Two methods that Transformers 5 took away and CAPPr 0.9.6 imports."""
    from transformers import DynamicCache

    def from_legacy_cache(layers: Any) -> Any:
        cache = DynamicCache()
        for at, (keys, values) in enumerate(layers or ()):
            cache.update(keys, values, at)
        return cache

    if not hasattr(DynamicCache, "from_legacy_cache"):
        DynamicCache.from_legacy_cache = staticmethod(from_legacy_cache)
        DynamicCache.to_legacy_cache = lambda self: tuple((layer.keys, layer.values) for layer in self.layers)


def ctranslate2(model: Any, asked: Questions) -> Ask:
    """CTranslate2, generating in batches behind a beginning that it keeps; in float32."""
    import ctranslate2 as library

    folder = tempfile.TemporaryDirectory()
    words = tokenizer(model.config.vocab_size)
    with _silence():
        copy.deepcopy(model).to(torch.float32).save_pretrained(f"{folder.name}/model")
        words.save_pretrained(f"{folder.name}/model")
        library.converters.TransformersConverter(f"{folder.name}/model").convert(f"{folder.name}/made")
    generator = library.Generator(
        f"{folder.name}/made", device="cpu", compute_type="default", intra_threads=torch.get_num_threads()
    )
    beginning = list(map(word, asked.beginning))

    def ask(count: int) -> list[int]:
        assert folder  # its files live as long as this
        out = generator.generate_batch(
            [list(map(word, text)) for text in asked.texts[:count]],
            max_batch_size=BATCH, static_prompt=beginning, cache_static_prompt=True, include_prompt_in_result=False,
            max_length=NEW, sampling_topk=1, end_token=word(END), return_end_token=True,
        )  # fmt: skip
        return [_label_of(asked, made.sequences_ids[0]) for made in out]

    return ask


def posterior(model: Any, asked: Questions) -> Ask:
    """Ours: the exact probability of every label."""
    engine, trie = _ours(model, asked)

    def ask(count: int) -> list[int]:
        logs = engine.log_probabilities(asked.prompts(count), trie, beginning=asked.beginning)
        found: list[int] = logs.argmax(axis=1).tolist()
        return found

    return ask


def best(model: Any, asked: Questions) -> Ask:
    """Ours: the most probable label, with bounds on its probability."""
    engine, trie = _ours(model, asked)

    def ask(count: int) -> list[int]:
        return [one.label for one in engine.best(asked.prompts(count), trie, beginning=asked.beginning)]

    return ask


def _ours(model: Any, asked: Questions) -> tuple[Any, Any]:
    from kasauti.model.engine import Engine
    from kasauti.model.fits import packs
    from kasauti.model.labels import build_trie

    engine = Engine(model)
    packs(model)
    engine.prefix(asked.beginning)
    return engine, build_trie(asked.labels)


def _argmax(scores: Sequence[float], labels: int) -> list[int]:
    found: list[int] = np.array(scores).reshape(-1, labels).argmax(axis=1).tolist()
    return found


@contextlib.contextmanager
def _silence() -> Any:
    logging.disable(logging.WARNING)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


ENGINES: dict[str, Callable[[Any, Questions], Ask]] = {
    "usual_loop": usual_loop,
    "usual_loop_stopping": usual_loop_stopping,
    "batched_generate": batched_generate,
    "lm_eval": lm_eval,
    "cappr": cappr,
    "ctranslate2": ctranslate2,
    "kasauti_posterior": posterior,
    "kasauti_best": best,
}
"""Name → how it is made."""
