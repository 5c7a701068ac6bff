"""A frozen template in Go's template language, as a Modelfile of Ollama holds it.

Walks in: a frozen template and its tokenizer. Walks out: an `OllamaTemplate`, proved to render as training did on
conversations of every shape, or a refusal. It does not translate Jinja: what stands before and after each turn is found
by rendering conversations, and a template that is more than that (it trims, counts, or looks into what users wrote)
shows in the proof.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from kasauti.chat.render import Renderer
from kasauti.core.errors import TemplateError

_SYSTEM, _ASKED, _SAID, _AGAIN = "Qsy one", "Qus two", "Zan three", "Qut four"
_MEND = "Export with --to gguf and start llama-server, which reads the template as it is; or use `kasauti serve`."


@dataclass(frozen=True, kw_only=True, slots=True)
class OllamaTemplate:
    """What stands around the turns of a conversation."""

    bare: str
    """At the head of a conversation without a system turn."""
    system: tuple[str, str]
    """Before and after a system text; the head of the conversation is part of it."""
    user: tuple[str, str]
    assistant: tuple[str, str]
    ask: str
    """Behind the last turn, before the answer."""
    trims: bool
    """The template takes white space off the ends of a text, and Go's does not."""

    @property
    def text(self) -> str:
        """The template for `TEMPLATE` of a Modelfile."""
        turns = "{{ else }}".join(
            "{{ if eq .Role " + _go(role) + " }}" + _said(before) + "{{ .Content }}" + _said(after)
            if role != "assistant"
            else _said(before) + "{{ .Content }}" + _said(after)
            for role, (before, after) in (("system", self.system), ("user", self.user), ("assistant", self.assistant))
        )
        head = "{{ if not .System }}" + _said(self.bare) + "{{ end }}" if self.bare else ""
        loop = "{{ range .Messages }}" + turns + "{{ end }}" * 2 + "{{ end }}"
        return head + loop + _said(self.ask)

    def render(self, messages: Sequence[tuple[str, str]]) -> str:
        """What Ollama makes of (role, content) pairs; the tests hold it equal to Go's own rendering of `text`."""
        out = "" if any(role == "system" for role, _ in messages) else self.bare
        for role, content in messages:
            before, after = {"system": self.system, "user": self.user}.get(role, self.assistant)
            out += before + content + after
        return out + self.ask


def ollama_template(renderer: Renderer, *, without: str = "") -> OllamaTemplate:
    """The template, proved.

    Args:
        without: what the runtime itself puts before every prompt (a BOS); taken off the head.

    Raises:
        TemplateError: it does not render as training did; which conversation shows it.
    """

    def shown(*turns: tuple[str, str]) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        return renderer.prompt_text(messages)[0].removeprefix(without)

    if renderer.frozen.system == "folded":
        raise _refused("it has no system turn")
    whole = shown(("system", _SYSTEM), ("user", _ASKED), ("assistant", _SAID), ("user", _AGAIN))
    alone = shown(("user", _ASKED))
    parts: list[str] = []
    rest = whole
    for content in (_SYSTEM, _ASKED, _SAID, _AGAIN):
        before, found, rest = rest.partition(content)
        if not found:
            raise _refused("a turn is left out")
        parts.append(before)
    head, between, to_answer, after_answer = parts
    bare, found, _ = alone.partition(_ASKED)
    if not found:
        raise _refused("a turn is left out")
    user_open = _common_end(between, after_answer, bare)
    user_close = _common_start(to_answer, rest)
    made = OllamaTemplate(
        bare=bare.removesuffix(user_open),
        system=(head, between.removesuffix(user_open)),
        user=(user_open, user_close),
        assistant=(to_answer.removeprefix(user_close), after_answer.removesuffix(user_open)),
        ask=rest.removeprefix(user_close),
        trims=shown(("system", _SYSTEM), ("user", f" {_ASKED}\n")) != _spaced(head, between, rest),
    )
    for turns in _shapes():
        try:
            want = shown(*turns)
        except TemplateError:  # a template for one turn only
            continue
        if made.render(turns) != want:
            raise _refused("the conversation " + "/".join(role for role, _ in turns) + " renders otherwise")
    return made


def modelfile(template: OllamaTemplate, *, file: str, system: str, stops: Sequence[str], window: int, most: int) -> str:
    """The Modelfile.

    Args:
        file: the GGUF file, beside it.
        system: the task's instructions.
        stops: what ends an answer.
        window: tokens of prompt and answer.
        most: tokens of an answer.

    Raises:
        TemplateError: a text holds three quotation marks in a row, which end a text of a Modelfile.
    """
    for text in (template.text, system):
        if '"""' in text:
            raise _refused('three quotation marks in a row (""") cannot stand in a Modelfile')
    lines = [f"FROM ./{file}", f'TEMPLATE """{template.text}"""']
    if system:
        lines.append(f'SYSTEM """{system}"""')
    lines += [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops]
    lines += ["PARAMETER temperature 0", f"PARAMETER num_ctx {window}", f"PARAMETER num_predict {most}"]
    return "\n".join(lines) + "\n"


def _shapes() -> list[tuple[tuple[str, str], ...]]:
    system, user, said = (
        ("system", "Name it."),
        ("user", "Complaint: it's late, <b>again</b> {{ .x }}"),
        ("assistant", "no"),
    )
    return [
        (system, user),
        (user,),
        (user, said, user),
        (system, user, said, user),
        (system, user, said, user, said, ("user", "मेरा पैसा\n\nवापस")),
    ]


def _spaced(head: str, between: str, rest: str) -> str:
    return head + _SYSTEM + between + f" {_ASKED}\n" + rest


def _common_start(*texts: str) -> str:
    least, most = min(texts), max(texts)  # what these two share, all between them share
    same = 0
    while same < min(len(least), len(most)) and least[same] == most[same]:
        same += 1
    return least[:same]


def _common_end(*texts: str) -> str:
    return _common_start(*(text[::-1] for text in texts))[::-1]


def _go(text: str) -> str:
    """A text as Go spells it; JSON's spelling, which Go reads as well."""
    return json.dumps(text, ensure_ascii=False)


def _said(text: str) -> str:
    return "{{ " + _go(text) + " }}" if text else ""


def _refused(what: str) -> TemplateError:
    return TemplateError(f"the chat template cannot be written for Ollama: {what}", where="chat template", mend=_MEND)
