"""What a model is taught, token by token, for human eyes.

Walks in: a supervised conversation, its tokenizer. Walks out: a token view and an HTML fragment. It does not know why
a token is supervised, or the page around the fragment.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kasauti.core.types import Supervised

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Colours for pages without our stylesheet: half-transparent, so that they are legible on white and on black, and
# underlined, so that colour is not the only sign.
_SUPERVISED = "background:rgba(34,160,90,.28);border-bottom:2px solid rgb(34,160,90)"
_PROMPT = "background:rgba(128,128,128,.12)"
_BOX = "white-space:pre-wrap;overflow-wrap:anywhere;font-family:ui-monospace,monospace;line-height:1.9"
# Shown for what cannot be seen; the character itself follows where it breaks a line.
_VISIBLE = {"\n": "↵\n", "\t": "⇥", "\r": "␍", "\x00": "␀"}


@dataclass(frozen=True, slots=True)
class Token:
    """One position of a conversation."""

    text: str
    """What it decodes to behind its neighbour; the tokenizer's own spelling where that is no whole character."""
    id: int
    supervised: bool


def token_view(tokenizer: PreTrainedTokenizerBase, supervised: Supervised) -> tuple[Token, ...]:
    """Every token with its text, its id and whether the model is taught it."""
    from kasauti.chat.encode import Encoder

    encoder, before, view = Encoder(tokenizer, ""), None, []
    for token, label in zip(supervised.ids, supervised.labels, strict=True):
        text = encoder.decode_after(before, [token])
        if not text or "\ufffd" in text:
            text = str(tokenizer.convert_ids_to_tokens(token))
        view.append(Token(text, token, label != -100))
        before = token
    return tuple(view)


def render_html(view: Sequence[Token]) -> str:
    """A self-contained HTML fragment: supervised tokens green and underlined, the others grey.

    Classes `kas-tokens` (the box), `kas-sup` and `kas-pre` (a token that is supervised or not) carry inline styles
    too; each token's title gives its id. All text is escaped.
    """
    taught = sum(token.supervised for token in view)
    spans = "".join(map(_span, view))
    label = f"{len(view)} tokens, {taught} supervised"
    return f'<div class="kas-tokens" role="group" aria-label="{label}" style="{_BOX}">{spans}</div>'


def _span(token: Token) -> str:
    shown = "".join(_VISIBLE.get(character, character) for character in token.text)
    name, style, words = ("kas-sup", _SUPERVISED, "supervised") if token.supervised else ("kas-pre", _PROMPT, "prompt")
    tag = "mark" if token.supervised else "span"
    style += ";color:inherit" if token.supervised else ""
    return f'<{tag} class="{name}" style="{style}" title="id {token.id}, {words}">{html.escape(shown)}</{tag}>'
