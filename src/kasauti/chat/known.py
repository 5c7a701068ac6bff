"""Chat templates that a task may name for a base model that brings none.

Walks in: a name or a path. Walks out: Jinja text. It does not know tokenizers. All are written for Kasauti; `{{
bos_token }}` is empty where the tokenizer has none.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from kasauti.core.errors import TemplateError

# ChatML. A tokenizer without the two tokens spells them, and the end of the turn is then its own end-of-sequence token.
# Some tokenizers (SmolLM) call `<|im_start|>` their BOS: it must not stand twice.
CHATML = (
    "{% if bos_token and bos_token != '<|im_start|>' %}{{ bos_token }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# For tokenizers without newlines and without tokens for turns: words only, newlines as spaces, the end-of-sequence
# token ends the turn. The space behind "Answer:" belongs to the answer, because most vocabularies join it to the next
# word.
PLAIN = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ ' Answer: ' + message['content'] + eos_token }}"
    "{% else %}"
    "{% if not loop.first %}{{ ' ' }}{% endif %}"
    "{{ message['content'] | trim | replace('\\r\\n', ' ') | replace('\\n', ' ') }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ ' Answer:' }}{% endif %}"
)

KNOWN = {"chatml": CHATML, "plain": PLAIN}


def named_template(named: str, folder: str | Path = ".") -> str:
    """The Jinja text of a known name, or of a file.

    Args:
        named: a key of `KNOWN`, or the path of a Jinja file.
        folder: what a relative path is relative to (the task's folder).

    Raises:
        TemplateError: neither a known name nor a readable file of UTF-8 text.
    """
    if named in KNOWN:
        return KNOWN[named]
    path = Path(folder, named)
    if path.suffix not in {".jinja", ".jinja2", ".j2"} and not path.is_file():
        nearest = difflib.get_close_matches(named, KNOWN, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known names are {', '.join(sorted(KNOWN))}."
        raise TemplateError(
            f"no chat template is called {named!r}",
            where="chat_template",
            mend=f"Name a known one or a Jinja file: {hint}",
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(
            f"the chat template {str(path)!r} cannot be read: {error}",
            where="chat_template",
            mend="Name a file of UTF-8 text, or one of: " + ", ".join(sorted(KNOWN)) + ".",
        ) from None
    if not text.strip():
        raise TemplateError(f"the chat template {str(path)!r} is empty", where="chat_template", mend="Write one.")
    return text
