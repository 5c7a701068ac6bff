"""A frozen template as one Jinja text that any server renders as training did, with nothing passed beside it.

Walks in: a `FrozenTemplate`. Walks out: Jinja. It does not know which server reads it.

What rendering depends on besides the text is written into it: the frozen arguments and special tokens, what stands
between the prompt and an answer, and the system text put before the user's where the template has no system turn.
`{% generation %}`, which only Transformers reads, is taken out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from kasauti.chat.frozen import FrozenTemplate
from kasauti.chat.render import Renderer, Turn
from kasauti.core.errors import TemplateError
from kasauti.core.types import Message

_GENERATION = re.compile(r"\{%([-+]?)\s*(?:end)?generation\s*([-+]?)%\}")
_FOLD = (
    "{% if messages[0]['role'] == 'system' %}{% set messages = [{'role': messages[1]['role'], 'content': "
    "messages[0]['content'] + ('\\n\\n' if messages[0]['content'] and messages[1]['content'] else '') + "
    "messages[1]['content']}] + messages[2:] %}{% endif %}"
)


def served_template(frozen: FrozenTemplate) -> str:
    """The whole rendering as Jinja that needs `messages` and `add_generation_prompt` alone."""
    known = {**frozen.special_tokens, **frozen.arguments}
    head = "".join(f"{{% set {name} = {_literal(value)} %}}" for name, value in sorted(known.items()))
    fold = _FOLD if frozen.system == "folded" else ""
    lead = frozen.frame.lead
    tail = f"{{% if add_generation_prompt %}}{{{{ {_literal(lead)} }}}}{{% endif %}}" if lead else ""
    return head + fold + _GENERATION.sub(r"{#\1 \2#}", frozen.text) + tail


def served_text(tokenizer: Any, template: str, messages: Sequence[Turn]) -> str:
    """A prompt as a server writes it that is given this template."""
    turns = [
        {"role": turn.role, "content": turn.content} if isinstance(turn, Message) else dict(turn) for turn in messages
    ]
    return str(tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False, add_generation_prompt=True))


def served_ids(tokenizer: Any, template: str, messages: Sequence[Turn]) -> list[int]:
    """Prompt ids as a server has them that is given this template: its text, to which the tokenizer adds no special
    token. So do `vllm serve --chat-template` and `transformers serve`."""
    return list(tokenizer(served_text(tokenizer, template, messages), add_special_tokens=False)["input_ids"])


def check_served(frozen: FrozenTemplate, tokenizer: Any, template: str) -> None:
    """That the one text renders as the frozen template does: every probe, and a conversation of several turns.

    Raises:
        TemplateError: it does not, and which conversation shows it.
    """
    renderer = Renderer(frozen, tokenizer)
    for probe in frozen.probes:
        turns = [{"role": role, "content": content} for role, content in probe.messages]
        if served_ids(tokenizer, template, turns) != renderer.render_prompt(turns):
            raise TemplateError(
                f"the chat template cannot be written as one text: {turns[-1]['content']!r} has other ids",
                where="chat template",
                mend="Serve with `kasauti serve`, which renders as training did.",
            )


def _literal(value: Any) -> str:
    """A value as Jinja spells it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return json.dumps(value, ensure_ascii=False)
    raise TemplateError(
        f"the template argument {value!r} cannot be written into a template",
        where="chat template",
        mend="Give it as text, a number, true or false.",
    )
