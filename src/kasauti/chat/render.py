"""Render a conversation to ask or to train on, and parse the answer again: one inverse pair, with shared constants.

Walks in: messages, a frozen template, the tokenizer it was frozen with. Walks out: text, ids, answers. It does not
know labels, losses or rows.

    renderer = Renderer(frozen, tokenizer)
    ids = renderer.render_prompt(messages)                  # to ask
    ids = renderer.render_training(messages, "refund")      # to train on; begins with the ids above
    renderer.parse_answer(generated_ids)                    # "refund"
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kasauti.chat.encode import Encoder
from kasauti.chat.frozen import FrozenTemplate
from kasauti.core.errors import SupervisionError, TemplateError
from kasauti.core.roles import MEND, role_of
from kasauti.core.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turn = Message | Mapping[str, str]
"""A message of the core, or a mapping with `role` and `content` (or ShareGPT's `from` and `value`)."""

# Stands where the middle of an over-long text was; ASCII, so that every vocabulary has it.
GAP = " ... "
# A text that would be shortened to fewer characters than this is refused.
LEAST_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Texts:
    """One conversation as text, before it becomes tokens."""

    prompt: str
    """What is asked."""
    continuation: str
    """What is trained behind it: space, answer, end of turn, and the template's tail."""
    answer: str
    """The answer as the template writes it; differs from the one given in outer white space at most."""
    mark: str
    """The private mark in `prompt` and `continuation`; empty where nothing needed one."""


def normal_role(role: str) -> str:
    """`system`, `user` or `assistant`.

    Raises:
        TemplateError: a role that is none of these under any known name; templates drop such turns without a word.
    """
    known = role_of(role)
    if known is None:
        raise TemplateError(f"the role {role!r} is unknown", where="messages", mend=MEND)
    return known


def normal_turns(messages: Sequence[Turn]) -> list[dict[str, str]]:
    """Messages as the dictionaries that templates read, with normal roles.

    Raises:
        TemplateError: an unknown role, a content that is no text, or no message at all.
    """
    turns = []
    for message in messages:
        if isinstance(message, Message):
            role, content = message.role, message.content
        else:
            role = message.get("role") or message.get("from") or ""
            content = message["content"] if "content" in message else message.get("value", "")
        if not isinstance(content, str):
            raise TemplateError(
                f"the content of a {role} turn is {type(content).__name__}, not text",
                where="messages",
                mend="Give every turn its text.",
            )
        turns.append({"role": normal_role(role), "content": content})
    if not turns or turns[-1]["role"] != "user":
        last = f"ends with the {turns[-1]['role']}'s turn" if turns else "is empty"
        raise TemplateError(
            f"the conversation {last}", where="messages", mend="End it with the user's turn, which is to be answered."
        )
    return turns


def fold_system(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """The system text put before the first user text, for templates without a system turn."""
    system = [turn["content"] for turn in turns if turn["role"] == "system"]
    rest = [dict(turn) for turn in turns if turn["role"] != "system"]
    first = next(turn for turn in rest if turn["role"] == "user")
    first["content"] = "\n\n".join(text for text in [*system, first["content"]] if text)
    return rest


def render_texts(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    conversations: Sequence[Sequence[Mapping[str, str]]],
    *,
    ask: bool,
    arguments: Mapping[str, Any],
) -> list[str]:
    """The tokenizer's own `apply_chat_template` as text, all in one call, with its refusals as `TemplateError`.

    Of several it does not say which one was refused: whoever wants to know asks for each alone.
    """
    copies = [[dict(turn) for turn in turns] for turns in conversations]
    try:
        rendered: list[str] = tokenizer.apply_chat_template(
            copies, chat_template=text, tokenize=False, add_generation_prompt=ask, **arguments
        )
        return rendered
    except Exception as error:  # a template is foreign code: it raises what it likes
        raise TemplateError(
            f"the chat template refuses {_named(copies)}: {error}",
            where="chat template",
            mend="Let user and assistant alternate, the user first, or name another template in task.yaml.",
        ) from error


def _named(conversations: Sequence[Sequence[Mapping[str, str]]]) -> str:
    if len(conversations) > 1:
        return f"one of {len(conversations)} conversations"
    return "the conversation " + "/".join(turn["role"] for turn in conversations[0])


def render_text(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    turns: Sequence[Mapping[str, str]],
    *,
    ask: bool,
    arguments: Mapping[str, Any],
) -> str:
    """`render_texts` of one conversation."""
    return render_texts(tokenizer, text, [turns], ask=ask, arguments=arguments)[0]


class Renderer:
    """A frozen template bound to its tokenizer.

    Args:
        frozen: from `freeze` or `FrozenTemplate.load`.
        tokenizer: the one it was frozen with; `check_same` says whether it is.
    """

    def __init__(self, frozen: FrozenTemplate, tokenizer: PreTrainedTokenizerBase) -> None:
        self.frozen = frozen
        self.tokenizer = tokenizer
        self.encoder = Encoder(tokenizer, frozen.text)
        self._arguments = {**frozen.special_tokens, **frozen.arguments}

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens at which generation ends: the template's end of turn, and the tokenizer's end of sequence."""
        eos = self.tokenizer.eos_token_id
        end = self.frozen.frame.end_id
        return (end, eos) if isinstance(eos, int) and eos != end else (end,)

    def render_prompt(self, messages: Sequence[Turn], *, limit: int | None = None) -> list[int]:
        """Ids to ask with.

        Args:
            messages: the last one is the user's.
            limit: at most so many ids; a longer user text is shortened in its middle (`fit`).

        Raises:
            TemplateError: the template cannot express the conversation.
        """
        if limit is not None:
            messages = self.fit(messages, limit)[0]
        text, mark = self.prompt_text(messages)
        return self.encoder.encode(text, mark)

    def render_prompts(self, batch: Sequence[Sequence[Turn]]) -> list[list[int]]:
        """`render_prompt` of every conversation, in one call to the tokenizer."""
        texts = [self.prompt_text(messages) for messages in batch]
        return self.encoder.encode_many([text for text, _ in texts], [mark for _, mark in texts])

    def render_training(self, messages: Sequence[Turn], answer: str) -> list[int]:
        """Ids to train on: those of `render_prompt`, then the answer, its end of turn, and the template's tail."""
        texts = self.texts(messages, answer)
        full = self.encoder.encode(texts.prompt + texts.continuation, texts.mark)
        return self.join(self.encoder.encode(texts.prompt, texts.mark), full, texts)

    def join(self, prompt_ids: list[int], full_ids: list[int], texts: Texts) -> list[int]:
        """Ids of the whole conversation, of which `prompt_ids` are the beginning.

        They are the tokenizer's own ids of the whole text, unless a token of it reaches over the border between
        prompt and answer. Then the model could never be asked with the prompt that it was trained on; so the border
        is kept, and the text behind it is encoded as a continuation of the prompt.
        """
        if full_ids[: len(prompt_ids)] == prompt_ids and not self._swallowed(prompt_ids, full_ids, texts):
            return full_ids
        frame = self.frozen.frame
        space = frame.shown.removeprefix(frame.space)  # one that this tokenizer writes by itself behind a prompt
        return prompt_ids + self.encoder.encode_continuation(space + texts.continuation, texts.mark)

    def _swallowed(self, prompt_ids: list[int], full_ids: list[int], texts: Texts) -> bool:
        # Control tokens may take in the white space that follows (Phi-3's do): an answer that begins with some loses
        # it.
        if texts.answer[:1].strip() and texts.answer[-1:].strip():
            return False
        try:
            stop = full_ids.index(self.frozen.frame.end_id, len(prompt_ids))
        except ValueError:
            return True
        before = prompt_ids[-1] if prompt_ids else None
        shown = self.encoder.decode_after(before, full_ids[len(prompt_ids) : stop])
        return shown != self.frozen.frame.shown + texts.answer + self.frozen.frame.gap

    def prompt_text(self, messages: Sequence[Turn]) -> tuple[str, str]:
        """The prompt as text, with its mark (see `encode`)."""
        turns, mark, _ = self._protected(messages, None)
        return self._rendered([turns], ask=True)[0] + self.frozen.frame.lead, mark

    def texts(self, messages: Sequence[Turn], answer: str) -> Texts:
        """Prompt and continuation of one conversation as text.

        Raises:
            TemplateError: the template cannot express the conversation.
            SupervisionError: the answer is empty, or the template leaves it or the user's text out or writes another
                one.
        """
        return self.texts_of([(messages, answer)])[0]

    def texts_of(self, rows: Sequence[tuple[Sequence[Turn], str]]) -> list[Texts]:
        """`texts` of every conversation and its answer; rendered together, which takes a third less time.

        Raises:
            TemplateError, SupervisionError: as `texts`, of one of them.
        """
        if not all(answer.strip() for _, answer in rows):
            raise SupervisionError("the answer is empty", mend="Give the row an answer, or leave it out.")
        safe = [self._protected(messages, answer) for messages, answer in rows]
        prompts = self._rendered([turns for turns, _, _ in safe], ask=True)
        answered = [[*turns, {"role": "assistant", "content": answer}] for turns, _, answer in safe]
        wholes, frame, made = self._rendered(answered, ask=False), self.frozen.frame, []
        for (turns, mark, answer), bare, whole in zip(safe, prompts, wholes, strict=True):
            prompt = bare + frame.lead
            written = self._written_answer(prompt, whole, answer)
            self._check_user_texts(prompt, turns)
            plain = written.replace(mark, "") if mark else written
            made.append(Texts(prompt, frame.space + written + frame.closing, plain, mark))
        return made

    def _protected(self, messages: Sequence[Turn], answer: str | None) -> tuple[list[dict[str, str]], str, str]:
        turns = normal_turns(messages)
        if self.frozen.system == "folded":
            turns = fold_system(turns)
        contents = [turn["content"] for turn in turns] + ([] if answer is None else [answer])
        safe, mark = self.encoder.protect(contents)
        if mark:
            turns = [{**turn, "content": content} for turn, content in zip(turns, safe, strict=False)]
        return turns, mark, "" if answer is None else safe[-1]

    def _rendered(self, conversations: Sequence[Sequence[Mapping[str, str]]], *, ask: bool) -> list[str]:
        return render_texts(self.tokenizer, self.frozen.text, conversations, ask=ask, arguments=self._arguments)

    def _written_answer(self, prompt: str, whole: str, answer: str) -> str:
        """The answer as it stands in the rendering to train on."""
        frame = self.frozen.frame
        head = whole.removesuffix(frame.tail)
        variants: tuple[str, ...] = (answer,)
        if frame.trims:
            variants += (answer.strip(), answer.lstrip(), answer.strip("\n"), answer.lstrip("\n"))
        for written in variants:
            before = head[: len(head) - len(written)]
            fits = prompt.startswith(before) if frame.longer_prompt else before == prompt + frame.space
            if fits and before + written + frame.tail == whole:
                return written
        raise SupervisionError(
            f"the chat template does not write the answer {answer[:40]!r} as it is behind the prompt",
            mend="Look whether the answer holds text that the template acts on (such as </think>), and take it out.",
        )

    def _check_user_texts(self, prompt: str, turns: Sequence[Mapping[str, str]]) -> None:
        for turn in turns:
            text = turn["content"].strip()
            if turn["role"] == "user" and text not in prompt and " ".join(text.split()) not in " ".join(prompt.split()):
                raise SupervisionError(
                    f"the chat template leaves the user's text {text[:40]!r} out of the prompt",
                    mend="Name another template in the task's chat_template.",
                )

    def fit(self, messages: Sequence[Turn], limit: int) -> tuple[list[Message], int]:
        """Shorten the longest user text in its middle until the prompt has at most `limit` ids.

        Returns:
            The messages with normal roles, and the number of characters that were taken out (0 where they fitted).

        Raises:
            SupervisionError: nothing of the user's text would be left; instructions are never cut.
        """
        turns = [Message(role=turn["role"], content=turn["content"]) for turn in normal_turns(messages)]
        length = len(self.render_prompt(turns))
        if length <= limit:
            return turns, 0
        index = max(range(len(turns)), key=lambda i: (turns[i].role == "user", len(turns[i].content)))
        text = turns[index].content
        low, high, best = LEAST_CHARACTERS, len(text) - len(GAP) - 1, -1
        while low <= high:
            keep = (low + high) // 2
            turns[index] = Message(role="user", content=shorten(text, keep))
            if len(self.render_prompt(turns)) <= limit:
                best, low = keep, keep + 1
            else:
                high = keep - 1
        if best < 0:
            raise SupervisionError(
                f"the prompt has {length} tokens, and {limit} are allowed; even without the user's text it is too long",
                mend="Allow more tokens (train: max_length), or shorten the instructions.",
            )
        turns[index] = Message(role="user", content=shorten(text, best))
        return turns, len(text) - len(turns[index].content) + len(GAP)

    def parse_answer(self, generated: str | Sequence[int], *, answers: Sequence[str] = ()) -> str:
        """The answer in what a model wrote behind `render_prompt`; the inverse of `render_training`.

        Args:
            generated: ids, or their text, up to the end of the turn or longer; without an end, all of it is the answer.
            answers: the possible answers, for a tokenizer that cannot spell them all: what is no answer as it stands is
                then read as the only one that this tokenizer spells so.
        """
        frame = self.frozen.frame
        if isinstance(generated, str):
            stops = [self.tokenizer.convert_ids_to_tokens(token) for token in self.stop_ids]
            text = generated
            for stop in (*map(str, stops), frame.end):
                text = text.partition(stop)[0]
            ended = text != generated
        else:
            ids = list(generated)
            cut = min((ids.index(stop) for stop in self.stop_ids if stop in ids), default=len(ids))
            text, ended = self.encoder.decode_after(frame.before_id, ids[:cut]), cut < len(ids)
        text = text.removeprefix(frame.shown)
        text = text.removesuffix(frame.gap) if ended else text
        if answers and text not in answers:
            alike = [answer for answer in answers if self.spelled(answer) == text]
            text = alike[0] if len(alike) == 1 else text
        return text

    def spelled(self, answer: str) -> str:
        """The answer as this tokenizer can write it: what has no token becomes the unknown token's string."""
        ids = self.encoder.encode_continuation(self.frozen.frame.space + answer)
        return self.encoder.decode_after(self.frozen.frame.before_id, ids).removeprefix(self.frozen.frame.shown)


def shorten(text: str, keep: int) -> str:
    """The first and last characters of a text, `keep` in all, with `GAP` between them; no letter loses its vowel
    signs."""
    head, tail = (keep + 1) // 2, len(text) - keep // 2
    while head < tail and unicodedata.category(text[head])[0] == "M":
        head += 1
    while tail < len(text) and unicodedata.category(text[tail])[0] == "M":
        tail += 1
    return text[:head] + GAP + text[tail:]
