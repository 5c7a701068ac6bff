"""First embeddings of kasauti/nano: tokens that are spelt alike, or that stand in alike contexts, begin close.

Walks in: a tokenizer, texts of the training data. Walks out: a matrix. It knows no model.

Choosing a label by its name begins with ` refund` in a text and `refund` in a label having something in common, and
`money back` with both; from random embeddings that alone takes millions of tokens to find out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix
from sklearn.utils.extmath import randomized_svd
from transformers import PreTrainedTokenizerFast

BUCKETS = 2**16
WINDOW = 6
"""Tokens on either side that count as context."""
SCALE = 0.02


def first_embeddings(tokenizer: PreTrainedTokenizerFast, size: int, texts: Iterable[str] = ()) -> torch.Tensor:
    """[tokens, size]: spelling, contexts and chance, weighed so that every component has variance `SCALE`²."""
    random_td = torch.randn(len(tokenizer), size, generator=torch.Generator().manual_seed(2))
    spelt_td, knows_t = spelling(tokenizer, size)
    met_td = distribution(tokenizer, size, texts)
    met_t = met_td.abs().sum(1) > 0
    weights = torch.zeros(len(tokenizer), 3)
    weights[:, 0] = 0.65 * knows_t
    weights[:, 1] = 0.65 * met_t
    weights[:, 2] = (1 - weights[:, 0] ** 2 - weights[:, 1] ** 2).sqrt()
    return SCALE * (weights[:, :1] * spelt_td + weights[:, 1:2] * met_td + weights[:, 2:] * random_td)


def spelling(tokenizer: PreTrainedTokenizerFast, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of hashed character n-grams (Bojanowski et al. 2017), and which tokens have any worth summing."""
    table = torch.randn(BUCKETS, size, generator=torch.Generator().manual_seed(1))
    out = torch.zeros(len(tokenizer), size)
    knows = torch.zeros(len(tokenizer))
    for token in set(range(len(tokenizer))) - set(tokenizer.all_special_ids):
        text = f"<{tokenizer.decode([token]).strip().lower()}>"
        grams = {text, *(text[i : i + n] for n in (3, 4) for i in range(len(text) - n + 1))}
        if len(text) > 2:
            out[token] = (
                table[[zlib.crc32(gram.encode()) % BUCKETS for gram in sorted(grams)]].sum(0) / len(grams) ** 0.5
            )
            knows[token] = 1.0
    return out, knows


def distribution(tokenizer: PreTrainedTokenizerFast, size: int, texts: Iterable[str]) -> torch.Tensor:
    """Singular vectors of the positive pointwise mutual information of tokens and their contexts (Levy et al. 2015:
    context counts to the power 0.75, square root of the singular values); rows of length √size, or zero."""
    count = len(tokenizer)
    pairs: csr_matrix = csr_matrix((count, count))
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == 20_000:
            pairs, chunk = pairs + _pairs(tokenizer, chunk), []
    pairs = pairs + _pairs(tokenizer, chunk)
    if not pairs.nnz:
        return torch.zeros(count, size)
    each = np.asarray(pairs.sum(1)).ravel()
    contexts = each**0.75
    chance = contexts / contexts.sum()
    found = pairs.tocoo()
    information = np.log(found.data / (each[found.row] * chance[found.col]))
    kept = (information > 0) & (found.data >= 3)
    matrix = csr_matrix((information[kept], (found.row[kept], found.col[kept])), shape=(count, count))
    left, strength, _ = randomized_svd(matrix, size, n_iter=4, random_state=0)
    vectors = left * np.sqrt(strength)
    # the first direction is how common a token is, which its embedding need not say
    vectors -= vectors[each > 0].mean(0)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.where((each >= 20)[:, None], vectors / np.maximum(length, 1e-9), 0.0) * size**0.5
    return torch.tensor(unit, dtype=torch.float32)


def _pairs(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> csr_matrix:
    """How often two tokens stand within `WINDOW` of each other, nearer ones counting more."""
    count = len(tokenizer)
    rows, columns, weights = [], [], []
    for encoding in tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False):
        ids = np.array(encoding.ids)
        for apart in range(1, min(WINDOW + 1, len(ids))):
            rows += [ids[:-apart], ids[apart:]]
            columns += [ids[apart:], ids[:-apart]]
            weights.append(np.full(2 * (len(ids) - apart), 1 / apart))
    if not rows:
        return csr_matrix((count, count))
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    return coo_matrix(entries, shape=(count, count)).tocsr()
