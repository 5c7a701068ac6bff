"""Freeze a tokenizer's own chat template, and say later whether a tokenizer is still the same one.

Walks in: a tokenizer, and the name of a template where it has none. Walks out: a `FrozenTemplate`, or an error that
says what the template cannot do. It knows no template by name: whether there is a system turn, where an answer
begins, what ends it, all of it is found by rendering small conversations.

What is amended, and written down in `FrozenTemplate.amendments`:

- A template that asks for today's date (Llama-3.2) gets a fixed one, so that it renders the same tomorrow:
  `date_string` where it takes that argument; where the date still comes out, a macro `strftime_now` before its
  text, because the function of that name cannot be overridden from outside.
- `enable_thinking` is passed as False where a template takes it (Qwen3): an answer is trained behind the empty think
  block that is written when asking.
- A tokenizer that puts a BOS before every text, with a template that writes none: the BOS is written first.
- A template that writes no end of turn: the tokenizer's end-of-sequence token ends the answer. A tokenizer without
  one is refused, since a model that never saw an end goes on talking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kasauti.chat.encode import control_strings
from kasauti.chat.frozen import FILE_NAME, AnswerFrame, FrozenTemplate, Probe
from kasauti.chat.known import KNOWN, named_template
from kasauti.chat.render import Renderer, Turn, fold_system, render_text
from kasauti.core.errors import KasautiError, TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["FILE_NAME", "KNOWN", "AnswerFrame", "FrozenTemplate", "Renderer", "Turn", "check_same", "freeze"]

# The date that Llama's own templates fall back to; a Friday.
FIXED_DATE = "26 Jul 2024"
_STRFTIME = {
    "%d": "26", "%-d": "26", "%e": "26", "%m": "07", "%-m": "7", "%b": "Jul", "%h": "Jul", "%B": "July", "%Y": "2024",
    "%y": "24", "%a": "Fri", "%A": "Friday", "%j": "208", "%H": "12", "%I": "12", "%M": "00", "%S": "00", "%p": "PM",
    "%Z": "UTC", "%z": "+0000", "%F": "2024-07-26", "%D": "07/26/24", "%T": "12:00:00",
}  # fmt: skip
_MACRO = "{%- macro strftime_now(format) -%}BODY{%- endmacro %}\n"
# Arguments that are frozen wherever a template reads them.
_DEFAULTS: Mapping[str, Any] = {"date_string": FIXED_DATE, "enable_thinking": False}

# Contents of the probes: words no template writes itself, in letters that small vocabularies have.
_SYSTEM, _USER, _ANSWER = "Qsy one", "Qus two", "Zan"
_PROBES: tuple[tuple[tuple[tuple[str, str], ...], str], ...] = (
    ((("system", "Name the category."), ("user", "Complaint: the refund of 499 has not come.")), "refund delayed"),
    ((("user", "मेरा पैसा वापस नहीं आया"),), "other"),
    ((("user", "Hi"), ("assistant", "yes"), ("user", "it's $5, isn't it?")), "no"),
)


def freeze(
    tokenizer: PreTrainedTokenizerBase,
    *,
    named: str | None = None,
    folder: str | Path = ".",
    arguments: Mapping[str, Any] | None = None,
) -> FrozenTemplate:
    """The chat template of a tokenizer, with everything that rendering depends on.

    Args:
        tokenizer: its own template is used wherever it has one.
        named: for a tokenizer without one, a key of `KNOWN` or the path of a Jinja file (a task's `chat_template`).
        folder: what a relative path is relative to.
        arguments: template arguments that replace the frozen defaults.

    Raises:
        TemplateError: no template; one that leaves turns out, ends no turn, or asks otherwise than it trains; a named
            one beside the tokenizer's own.
    """
    own = _own_text(tokenizer)
    wanted = None if named is None else named_template(named, folder)
    if own is None and wanted is None:
        raise TemplateError(
            "the tokenizer has no chat template (it belongs to a base model)",
            where=_name(tokenizer),
            mend="Name one in task.yaml: `chat_template: chatml`, `chat_template: plain`, or the path of a Jinja file.",
        )
    if own is not None and wanted is not None and own != wanted and own != _amended(tokenizer, wanted)[0]:
        raise TemplateError(
            f"the tokenizer has its own chat template, and the task names {named!r}",
            where="chat_template",
            mend="Take chat_template out of task.yaml: a chat model is asked with the template it was trained with.",
        )
    origin = "tokenizer" if wanted is None else str(named)
    return _assemble(tokenizer, str(own if wanted is None else wanted), origin, arguments)


def check_same(frozen: FrozenTemplate, tokenizer: PreTrainedTokenizerBase) -> None:
    """That a tokenizer renders and encodes as the one did that was frozen (an adapter on another model does not).

    Raises:
        TemplateError: another template, other special tokens, or other ids for the stored probes; it says which.
    """
    own = _own_text(tokenizer)
    if own is not None and frozen.text not in (own, _amended(tokenizer, own)[0]):
        raise _differs("its chat template is another one", tokenizer)
    if own is None and frozen.origin == "tokenizer":
        raise _differs("it has no chat template, and the frozen one came with the tokenizer", tokenizer)
    special = _special_tokens(tokenizer, frozen.text)
    for name in {**frozen.special_tokens, **special}:
        if frozen.special_tokens.get(name) != special.get(name):
            raise _differs(f"its {name} is {special.get(name)!r}, not {frozen.special_tokens.get(name)!r}", tokenizer)
    end_id = _token_id(tokenizer, frozen.frame.end)
    if end_id != frozen.frame.end_id:
        raise _differs(f"{frozen.frame.end} has the id {end_id}, not {frozen.frame.end_id}", tokenizer)
    renderer = Renderer(frozen, tokenizer)
    for probe in frozen.probes:
        try:
            now = _probe(renderer, probe.messages, probe.answer)
        except KasautiError as error:
            raise _differs(error.what, tokenizer) from error
        if now != probe:
            text = probe.messages[-1][1]
            raise _differs(f"the stored conversation {text!r} has other ids, or its prompt does", tokenizer)


def _differs(what: str, tokenizer: PreTrainedTokenizerBase) -> TemplateError:
    return TemplateError(
        f"the tokenizer is not the one that the adapter was trained with: {what}",
        where=_name(tokenizer),
        mend="Load the base model and tokenizer that the adapter names, or train a new adapter.",
    )


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return str(getattr(tokenizer, "name_or_path", "")) or "tokenizer"


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    found = tokenizer.convert_tokens_to_ids(token)
    return found if isinstance(found, int) else found[0]


def _own_text(tokenizer: PreTrainedTokenizerBase) -> str | None:
    own = tokenizer.chat_template
    if isinstance(own, Mapping):  # several by name (one for tools): the default is for plain conversations
        own = own.get("default")
        if own is None:
            raise TemplateError(
                f"the tokenizer has chat templates called {', '.join(sorted(tokenizer.chat_template))} and no default",
                where=_name(tokenizer),
                mend="Save the tokenizer with one of them as its chat_template.",
            )
    return own or None


def _special_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> dict[str, str]:
    """BOS and EOS, and what else the template names. A pad token that a trainer sets later changes no rendering."""
    return {
        name: str(token)
        for name, token in sorted(tokenizer.special_tokens_map.items())
        if isinstance(token, str) and (name in {"bos_token", "eos_token"} or name in text)
    }


def _amended(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[str, tuple[str, ...]]:
    """The text with a fixed date and with a BOS where the tokenizer is used to one; the same again for its own
    result."""
    notes: list[str] = []
    if "strftime_now" in text and "macro strftime_now" not in text and _writes_today(tokenizer, text):
        steps = "".join(f" | replace('{directive}', '{value}')" for directive, value in _STRFTIME.items())
        text = _MACRO.replace("BODY", "{{ format" + steps + " }}") + text
        notes.append(f"today's date is fixed at {FIXED_DATE}")
    bos = tokenizer.bos_token
    if bos:
        turns, special = [{"role": "user", "content": _USER}], _special_tokens(tokenizer, text)
        rendered = render_text(tokenizer, text, turns, ask=True, arguments={**special, **_defaults(text)})
        first = list(tokenizer.encode(_USER, add_special_tokens=True))[:1]
        if str(bos) not in rendered and first == [tokenizer.bos_token_id]:
            text = "{{ bos_token }}" + text
            notes.append("the tokenizer's BOS is written first")
    return text, tuple(notes)


def _writes_today(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    """Whether today's date comes out although the arguments are fixed: another word in its place is looked for."""
    turns = [{"role": "user", "content": _USER}]
    arguments = {**_special_tokens(tokenizer, text), **_defaults(text)}
    marked = _MACRO.replace("BODY", "Zdate") + text
    return "Zdate" in render_text(tokenizer, marked, turns, ask=True, arguments=arguments)


def _defaults(text: str) -> dict[str, Any]:
    return {name: value for name, value in _DEFAULTS.items() if name in text}


def _assemble(
    tokenizer: PreTrainedTokenizerBase, text: str, origin: str, arguments: Mapping[str, Any] | None
) -> FrozenTemplate:
    text, notes = _amended(tokenizer, text)
    fixed = {**_defaults(text), **(arguments or {})}
    special = _special_tokens(tokenizer, text)

    def render(turns: Sequence[Mapping[str, str]], ask: bool) -> str:
        return render_text(tokenizer, text, turns, ask=ask, arguments={**special, **fixed})

    system, controls = _system_turn(render), control_strings(tokenizer, text)
    turns = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
    folded = fold_system(turns)
    try:
        frame, note = _frame(tokenizer, render, folded if system == "folded" else turns, controls)
    except TemplateError:
        if system == "folded":
            raise
        # Mistral v0.3 writes the system text before the last user turn, and only where no answer follows.
        frame, note = _frame(tokenizer, render, folded, controls)
        system = "folded"
    frozen = FrozenTemplate(
        text=text,
        origin=origin,
        arguments=fixed,
        special_tokens=special,
        amendments=(*notes, *note),
        system=system,
        bos=_bos_habit(tokenizer, render),
        frame=frame,
    )
    return _with_probes(frozen, tokenizer)


def _system_turn(render: Any) -> str:
    """`own` where a system text comes out before the user's, `folded` where it is refused or dropped."""
    user = {"role": "user", "content": _USER}
    try:
        rendered = render([{"role": "system", "content": _SYSTEM}, user], True)
    except TemplateError:
        rendered = ""
    if _SYSTEM not in rendered:
        rendered = render([user], True)
        system = "folded"
    else:
        system = "own"
    if _USER not in rendered:
        raise TemplateError(
            "the chat template leaves the user's turn out",
            where="chat template",
            mend="Name another one in the task's chat_template.",
        )
    return system


def _frame(
    tokenizer: PreTrainedTokenizerBase, render: Any, turns: list[dict[str, str]], controls: Sequence[str]
) -> tuple[AnswerFrame, tuple[str, ...]]:
    """Where an answer stands between the prompt and the end of its turn; what had to be put there."""
    prompt = render(turns, True)
    whole = render([*turns, {"role": "assistant", "content": _ANSWER}], False)
    at = whole.rfind(_ANSWER)
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    longer_prompt = at >= 0 and prompt.startswith(whole[:at]) and prompt != whole[:at]
    longer_prompt = longer_prompt and (not eos or str(eos) not in prompt[at:])
    if at < 0 or not (longer_prompt or whole[:at].startswith(prompt)):
        fault = "leaves the assistant's turn out" if at < 0 else "writes another prompt to ask than it trains on"
        raise TemplateError(
            f"the chat template {fault}",
            where="chat template",
            mend="Name another one in the task's chat_template; with add_generation_prompt=True it must write what "
            "stands before an answer.",
        )
    between = "" if longer_prompt else whole[len(prompt) : at]
    space = between[len(between.rstrip(" ")) :]
    tail = whole[at + len(_ANSWER) :]
    rest = tail.lstrip()
    end = next((text for text in controls if rest.startswith(text) and (text != bos or text == eos)), "")
    if not end and not eos:
        raise TemplateError(
            "the chat template writes no end of turn and the tokenizer has no end-of-sequence token: a model trained "
            "with it would never stop",
            where="chat template",
            mend="Name another template in the task's chat_template, or give the tokenizer an eos_token.",
        )
    spaced = (f" {_ANSWER} ", f"\n{_ANSWER}\n")  # Qwen3 takes newlines off, and no spaces
    kept = all(
        render([*turns, {"role": "assistant", "content": text}], False) == whole[:at] + text + tail for text in spaced
    )
    frame = AnswerFrame(
        lead=between[: len(between) - len(space)],
        space=space,
        tail=tail,
        gap=tail[: len(tail) - len(rest)] if end else "",
        end=end or str(eos),
        end_id=_token_id(tokenizer, end or str(eos)),
        appended=not end,
        longer_prompt=longer_prompt,
        trims=not kept,
        shown=space,
        before_id=None,
    )
    return frame, (() if end else (f"{eos} ends an answer, because the template writes no end of turn",))


def _bos_habit(tokenizer: PreTrainedTokenizerBase, render: Any) -> str:
    bos = tokenizer.bos_token
    if not bos:
        return "none"
    user, assistant = {"role": "user", "content": _USER}, {"role": "assistant", "content": _ANSWER}
    one = render([user], True).count(str(bos))
    try:
        two = render([user, assistant, user], True).count(str(bos))
    except TemplateError:  # a template for one turn only
        two = one
    if two > one:
        return "turns"
    if one > 1:
        raise TemplateError(
            f"the chat template writes the BOS {bos} {one} times",
            where="chat template",
            mend="Take all but the first out of the template, or name another one in the task's chat_template.",
        )
    return "one" if one else "none"


def _with_probes(frozen: FrozenTemplate, tokenizer: PreTrainedTokenizerBase) -> FrozenTemplate:
    """The template with what its tokenizer does to it: the token before an answer, the text before it, the probes."""
    renderer = Renderer(frozen, tokenizer)
    turns: list[Turn] = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
    prompt, full = renderer.render_prompt(turns), renderer.render_training(turns, _ANSWER)
    before = prompt[-1] if prompt else None
    shown = renderer.encoder.decode_after(before, full[len(prompt) :]).partition(_ANSWER)
    if shown[1] and not shown[0].strip():  # some tokenizers write a space of their own behind a control token
        frozen = replace(frozen, frame=replace(frozen.frame, shown=shown[0], before_id=before))
    else:
        frozen = replace(frozen, frame=replace(frozen.frame, before_id=before))
    renderer = Renderer(frozen, tokenizer)
    probes = []
    for messages, answer in _PROBES:
        try:
            probes.append(_probe(renderer, messages, answer))
        except KasautiError:  # a template for one turn only; the other probes stand
            continue
    return replace(frozen, probes=tuple(probes))


def _probe(renderer: Renderer, messages: tuple[tuple[str, str], ...], answer: str) -> Probe:
    turns: list[Turn] = [{"role": role, "content": content} for role, content in messages]
    return Probe(
        messages=messages,
        answer=answer,
        prompt_ids=tuple(renderer.render_prompt(turns)),
        ids=tuple(renderer.render_training(turns, answer)),
    )
