"""Makes a model write JSON that satisfies a schema: at every step only the tokens that can still lead to such a text.

Walks in: a JSON Schema, a tokenizer, the ids that end a turn. Walks out: a processor of next-token scores for
`generate`. The automaton is llguidance's; what is ours is that the turn's end, and nothing else, may follow a complete
text. A text that is cut at its limit is incomplete and no answer, as without a schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor

from kasauti.core.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


WHITE_SPACE = r"\n {0,16}| ?"
"""Between the parts of a JSON text: on one line, or indented; without a bound a weak model would write nothing else."""


class Grammar:
    """A schema bound to a tokenizer; building it takes about a second for a vocabulary of 128,000.

    Args:
        schema: the JSON Schema.
        tokenizer: a fast one.
        end_ids: ids that end a turn; the first of them is written behind a complete text.

    Raises:
        ModelError: the tokenizer is slow, or the schema says something that cannot be made into a grammar.
    """

    def __init__(self, schema: Any, tokenizer: PreTrainedTokenizerBase, end_ids: Sequence[int]) -> None:
        import llguidance.hf
        from llguidance import LLMatcher

        if not tokenizer.is_fast:
            raise ModelError(
                "answers cannot be held to a schema with a slow tokenizer",
                where="task.yaml: schema",
                mend="choose a model with a fast tokenizer (tokenizer.json), or leave `schema` out",
            )
        self.end_ids = tuple(end_ids)
        self._words: Any = llguidance.hf.from_tokenizer(tokenizer, n_vocab=len(tokenizer), eos_token=self.end_ids[0])
        self._text: str = LLMatcher.grammar_from_json_schema(
            schema, overrides={"whitespace_flexible": True, "whitespace_pattern": WHITE_SPACE}
        )
        fault = LLMatcher.validate_grammar(self._text, self._words)
        if fault:
            raise ModelError(
                f"the schema cannot be written by: {' '.join(fault.split())[:200]}",
                where="task.yaml: schema",
                mend="say it with simpler keywords; JSON Schema is followed but for what is named here",
            )

    def processor(self, rows: int, start: int) -> LogitsProcessor:
        """For one batch: `start` is the length of its padded prompts."""
        from llguidance import LLMatcher

        return _Processor([LLMatcher(self._words, self._text, log_level=0) for _ in range(rows)], self.end_ids, start)


class _Processor(LogitsProcessor):  # type: ignore[misc]
    """Follows every row's text and masks what cannot come next."""

    def __init__(self, matchers: list[Any], end_ids: tuple[int, ...], start: int) -> None:
        self.matchers, self.end_ids, self.seen = matchers, end_ids, start
        self.over = [False] * len(matchers)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores of the next token [rows, vocabulary], minus infinity where it cannot come."""
        import numpy as np

        allowed = np.zeros(tuple(scores.shape), dtype=bool)
        for row, new in enumerate(input_ids[:, self.seen :].tolist()):
            matcher = self.matchers[row]
            for token in new:
                self.over[row] = self.over[row] or token in self.end_ids or not matcher.consume_token(token)
            if self.over[row] or matcher.is_stopped():
                allowed[row, self.end_ids[0]] = True
            else:
                bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
                width = min(len(bits), allowed.shape[1])
                allowed[row, :width] = bits[:width]
        self.seen = input_ids.shape[1]
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), float("-inf"))
