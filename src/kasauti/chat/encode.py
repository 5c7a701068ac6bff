"""Text to token ids and back, without letting a user's text become a control token.

Walks in: rendered text, the tokenizer. Walks out: ids exactly as the tokenizer writes them, and exact text from ids.
It does not know roles, templates or answers.

Rendered text is encoded whole, with the tokenizer's own control tokens recognised and nothing added, which is what
`apply_chat_template(tokenize=True)` does. Only where a *content* contains a control string (`<|eot_id|>`, `</s>`,
`[INST]`) does it take the safe path: a private mark, a Unicode noncharacter that occurs nowhere in the conversation,
is put behind the first character of every such string before the template sees it. The rendering is then cut at the
marks and the parts are encoded one after another. No part holds a whole control string of the user's, so the
tokenizer finds none, whatever kind it is: fast tokenizers honour `split_special_tokens=True` for special tokens only
and not for added ones such as `<think>`, and slow ones differ among themselves. The template's own control strings
are whole, and become tokens as always.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kasauti.core.errors import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Written before a text that continues another one, and taken off again: a SentencePiece-like tokenizer puts a space
# before whatever stands first. The first one whose tokens stay whole is used.
_ANCHORS = ("\n", "a", ".", "<", "1")
# Noncharacters: Unicode keeps them for internal use, so that text seldom holds one and never all.
_MARKS = tuple(chr(code) for code in range(0xFDD0, 0xFDF0))


def control_strings(tokenizer: PreTrainedTokenizerBase, template_text: str) -> tuple[str, ...]:
    """Strings that the tokenizer turns into one control token, longest first.

    All special tokens, and the added tokens that are not special but stand in the template (`<think>`). Added tokens
    of white space (Gemma has runs of newlines) are ordinary text.
    """
    added = tokenizer.added_tokens_decoder.values()
    found = {str(token.content) for token in added if token.special or token.content in template_text}
    found |= {str(token) for token in tokenizer.all_special_tokens}  # a slow tokenizer's may not be marked as special
    return tuple(sorted((text for text in found if text.strip()), key=lambda text: (-len(text), text)))


class Encoder:
    """One tokenizer with the control strings of one template.

    Args:
        tokenizer: slow or fast; nothing about it is changed.
        template_text: the Jinja text, read for the control strings that it writes.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template_text: str) -> None:
        self.tokenizer = tokenizer
        self.controls = control_strings(tokenizer, template_text)
        self._pattern = re.compile("|".join(map(re.escape, self.controls)) or "(?!)")
        # Only before these may a text be cut: they take in nothing of what is around them, whatever that is.
        self._clean = {
            str(token.content)
            for token in tokenizer.added_tokens_decoder.values()
            if tokenizer.is_fast and not (token.lstrip or token.rstrip or token.normalized or token.single_word)
        }
        self._decoded: dict[int, str] = {}
        self._ends: dict[str, list[int]] = {}

    def protect(self, contents: Sequence[str]) -> tuple[list[str], str]:
        """Put a mark into every control string of the contents.

        Returns:
            The contents, and the mark; the contents as they came and an empty mark where there is nothing to protect.

        Raises:
            TemplateError: a control string of one character, which cannot be divided.
        """
        if not any(map(self._pattern.search, contents)):
            return list(contents), ""
        mark = next((mark for mark in _MARKS if not any(mark in text for text in contents)), "")
        if not mark:
            raise TemplateError(
                "a conversation holds all 32 Unicode noncharacters U+FDD0 to U+FDEF beside a control string",
                mend="Remove them from the text: they are no text.",
            )
        return [mark.join(self._divide(text)) for text in contents], mark

    def _divide(self, text: str) -> list[str]:
        parts, start = [], 0
        while match := self._pattern.search(text, start):
            if len(match.group()) == 1:
                raise TemplateError(
                    f"the character {match.group()!r} is a control token of this tokenizer and stands in the text",
                    mend="Remove it from the text, or choose another model.",
                )
            parts.append(text[start : match.start() + 1])
            start = match.start() + 1
        return [*parts, text[start:]]

    def encode(self, text: str, mark: str = "") -> list[int]:
        """Ids of a rendered text; with a mark, the safe path of the module's docstring."""
        if not mark or mark not in text:
            return list(self.tokenizer.encode(text, add_special_tokens=False, verbose=False))
        first, *others = text.split(mark)
        ids = self.encode(first) if first else []
        for part in others:
            ids += self.encode_continuation(part)
        return ids

    def encode_continuation(self, text: str, mark: str = "") -> list[int]:
        """Ids of a text that stands after another one, so that nothing is put before its first word."""
        if mark and mark in text:
            return [token for part in text.split(mark) for token in self.encode_continuation(part)]
        if not text:
            return []
        for anchor in _ANCHORS:
            head, whole = self.encode(anchor), self.encode(anchor + text)
            if whole[: len(head)] == head and len(whole) > len(head):
                return whole[len(head) :]
        return self.encode(text)

    def encode_many(self, texts: Sequence[str], marks: Sequence[str]) -> list[list[int]]:
        """`encode` of every text, in one call to the tokenizer.

        What all texts begin with (the system turn) is encoded once, up to the last control token in it: tokenizers
        divide a text at control tokens before anything else. The first text is encoded both ways, and where the ids
        differ (a control token that takes in the white space before it) nothing is shared.
        """
        plain = [text for text, mark in zip(texts, marks, strict=True) if not mark]
        cut, head = self._shared_head(plain)
        rest = iter(self._batch([text[cut:] for text in plain]))
        return [self.encode(text, mark) if mark else head + next(rest) for text, mark in zip(texts, marks, strict=True)]

    def encode_pairs(
        self, prompts: Sequence[str], continuations: Sequence[str], marks: Sequence[str]
    ) -> list[tuple[list[int], list[int]]]:
        """`encode` of every prompt, and of every prompt with its continuation.

        The two have all but their end in common, so what stands before the prompt's last control token is encoded once
        for both, and the ends, which recur, once for all. As in `encode_many`, the first row is encoded both ways.
        """
        wholes = [prompt + more for prompt, more in zip(prompts, continuations, strict=True)]
        end = self._shared_end(prompts, wholes, marks)
        if not end:
            return list(zip(self.encode_many(prompts, marks), self.encode_many(wholes, marks), strict=True))
        shared = [not mark and prompt.endswith(end) for prompt, mark in zip(prompts, marks, strict=True)]
        heads = [prompt[: len(prompt) - len(end)] for prompt, here in zip(prompts, shared, strict=True) if here]
        before = iter(self.encode_many(heads, [""] * len(heads)))
        made = []
        for prompt, whole, mark, here in zip(prompts, wholes, marks, shared, strict=True):
            if here:
                head, ending = next(before), whole[len(prompt) - len(end) :]
                made.append((head + self._end_ids(end), head + self._end_ids(ending)))
            else:
                made.append((self.encode(prompt, mark), self.encode(whole, mark)))
        return made

    def _shared_end(self, prompts: Sequence[str], wholes: Sequence[str], marks: Sequence[str]) -> str:
        """What the prompts end with from their last control token on; empty where nothing is shared."""
        first = next((row for row, mark in enumerate(marks) if not mark), None)
        if first is None or len(prompts) < 8:
            return ""
        prompt, whole = prompts[first], wholes[first]
        last = max(self._pattern.finditer(prompt), key=lambda match: match.start(), default=None)
        if last is None or not last.start() or last.group() not in self._clean:
            return ""
        cut = last.start()
        head, end = self.encode(prompt[:cut]), prompt[cut:]
        same = head + self._end_ids(end) == self.encode(prompt)
        return end if same and head + self._end_ids(whole[cut:]) == self.encode(whole) else ""

    def _end_ids(self, text: str) -> list[int]:
        found = self._ends.get(text)
        if found is None:
            if len(self._ends) > 4096:
                self._ends.clear()
            found = self._ends[text] = self.encode(text)
        return found

    def _shared_head(self, texts: Sequence[str]) -> tuple[int, list[int]]:
        if len(texts) < 8:
            return 0, []
        least, most = min(texts), max(texts)  # what these two share, all between them share
        differ = (i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b)
        common = least[: next(differ, min(len(least), len(most)))]
        starts = [match.start() for match in self._pattern.finditer(common)]
        if not starts or not starts[-1]:
            return 0, []
        cut = starts[-1]
        head = self.encode(common[:cut])
        return (cut, head) if head + self.encode(texts[0][cut:]) == self.encode(texts[0]) else (0, [])

    def _batch(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        out = self.tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
        )
        return [list(ids) for ids in out["input_ids"]]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens included and nothing tidied."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text)

    def decode_after(self, before: int | None, ids: Sequence[int]) -> str:
        """The text that ids add behind the token `before`: decoders drop the space before whatever stands first."""
        if before is None:
            return self.decode(ids)
        if before not in self._decoded:
            self._decoded[before] = self.decode([before])
        head, whole = self._decoded[before], self.decode([before, *ids])
        return whole[len(head) :] if whole.startswith(head) else self.decode(ids)
