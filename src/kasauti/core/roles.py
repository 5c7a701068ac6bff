"""The roles of a conversation, under all the names that data give them.

Walks in: a role as it is written. Walks out: `system`, `user` or `assistant`, or nothing for a role that is
none of them.
"""

from __future__ import annotations

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "ai": "assistant",
}
"""Name → role. A name that is not here is never guessed: templates drop such turns without a word."""
MEND = "Use system, user and assistant (human, gpt, bot and model are understood too)."


def role_of(name: object) -> str | None:
    """The role that a name stands for, capitals and space around it apart; None for none."""
    return ROLES.get(str(name).strip().lower())
