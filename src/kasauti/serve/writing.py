"""A text that leaves while it is written.

Walks in: the growing text, from the thread that writes it. Walks out: server-sent events of the OpenAI protocol, each
letter once. It does not know what writes.

Pieces leave as they come; the event that says that the text is whole leaves when its call is kept, as every answer
does. A stream without it is no answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from kasauti.serve import openai
from kasauti.serve.problems import Problem, openai_error
from kasauti.serve.served import Answered


class Writing:
    """One text that is being written; within a running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._sent = 0
        self._asking: asyncio.Task[list[Answered]] | None = None
        self._first: str | None = None

    def tell(self, text: str) -> None:
        """The text so far, from any thread. One that is begun again, because another row of its batch was at fault,
        comes out the same: no letter is told twice."""
        self._loop.call_soon_threadsafe(self._grow, text)

    def _grow(self, text: str) -> None:
        if len(text) > self._sent:
            self._pieces.put_nowait(text[self._sent :])
            self._sent = len(text)

    async def begin(self, asked: Coroutine[Any, Any, list[Answered]]) -> None:
        """Wait for the first piece.

        Args:
            asked: gives the whole answer, its call kept. It is not given up when the caller hangs up: what was told
                is kept.

        Raises:
            Problem: what was wrong before anything was told.
        """
        self._asking = asyncio.create_task(asked)
        self._asking.add_done_callback(self._end)
        self._first = await self._pieces.get()
        if self._first is None:
            self._asking.result()

    def _end(self, asking: asyncio.Task[list[Answered]]) -> None:
        if not asking.cancelled():
            asking.exception()  # it has been looked at, also where the caller has hung up
        self._pieces.put_nowait(None)

    async def events(self, head: openai.Head, wish: openai.Wish, told: Callable[[str], None]) -> AsyncIterator[str]:
        """All events of the stream; what goes wrong in its middle is its last.

        Args:
            told: handed the name of a fault, for the log.
        """
        assert self._asking is not None  # begun
        yield openai.opening(head)
        piece = self._first
        while piece is not None:
            yield openai.piece(head, piece)
            piece = await self._pieces.get()
        try:
            (answer,) = self._asking.result()
        except Problem as problem:
            yield _error(problem)
            return
        except Exception as error:
            told(type(error).__name__)
            yield _error(Problem(500, "the service has a fault"))
            return
        if rest := answer.text[self._sent :]:
            yield openai.piece(head, rest)
        for event in openai.closing(answer, head, wish):
            yield event


def _error(problem: Problem) -> str:
    return f"data: {json.dumps({'error': openai_error(problem)})}\n\n"
