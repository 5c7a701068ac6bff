"""Sends requests: so many at once, so many a minute, again where that helps, and never for more than the cap.

Walks in: requests. Walks out: an answer to each, from the ledger where it is known, else from the endpoint. It does not
know tasks, labels or what an answer is worth.

The key is read from the environment when it is needed and stands in one header; whatever comes back is searched for it
before anything is kept or told.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import kasauti
from kasauti.approaches.hosted.ledger import Answer, Ledger
from kasauti.approaches.hosted.reply import Means, Reply, read_reply
from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.files import content_hash
from kasauti.core.hosted import Endpoint
from kasauti.core.progress import Progress, silent

if TYPE_CHECKING:
    import httpx2

Value = TypeVar("Value")
_now, _sleep = time.monotonic, asyncio.sleep
FIRST_WAIT = 0.5
"""Seconds that the first wait before another attempt takes at most; each that follows up to twice as many."""
LONGEST_WAIT = 30.0
PROBES = 3
"""Requests that are sent one after the other at first: when as many are refused, so will be the rest."""
LAST_SECONDS = 5.0
"""After Ctrl-C: seconds for what is under way and paid to come in."""
BODY_BYTES = 8 * 2**20
"""A response of more is not read to its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One question to an endpoint."""

    body: Mapping[str, Any]
    input_tokens: int
    """The most tokens that its messages can have."""
    output_tokens: int
    """The most tokens that the answer may have."""
    key: str = field(default="")
    """Hash of endpoint and body; equal questions have one answer."""

    def to(self, endpoint: Endpoint) -> Request:
        """The same with its key."""
        return replace(self, key=content_hash({"url": endpoint.url, "body": self.body}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """The endpoint will not answer this one, whoever asks."""

    why: str


def api_key(endpoint: Endpoint) -> str:
    """The key from the environment; empty where the endpoint asks for none.

    Raises:
        UsageError: the variable is not set, or holds what no header can.
    """
    if endpoint.key_env is None:
        return ""
    key = os.environ.get(endpoint.key_env, "").strip()
    where = f"environment variable {endpoint.key_env}"
    if not key:
        mend = f"Set it to the key of {endpoint.base_url}, or write `key_env: null` under `hosted` if it asks for none."
        raise UsageError("is not set", where=where, mend=mend)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(
            "holds letters that no key has", where=where, mend="Copy the key again, without anything else."
        )
    return key


class Caller:
    """An endpoint, asked under the bounds that the task sets.

    Args:
        endpoint: where and how.
        ledger: what was answered and spent already, and where that is written.
        prices: money for 1,000,000 tokens, `input` and `output`.
    """

    def __init__(self, endpoint: Endpoint, ledger: Ledger, prices: Mapping[str, float]) -> None:
        self.endpoint, self.ledger, self.prices = endpoint, ledger, prices
        self.without_logs = not endpoint.top_logprobs
        """The server gives no log-probabilities."""
        self._client: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answered = False  # at least one request of this process
        self._flying = 0
        self._landed = asyncio.Event()
        self._syncing = asyncio.Lock()
        self._written, self._on_disk = 0, 0  # answers, counted
        self._next_at = 0.0  # when the next request may be sent
        self._stop: Exception | None = None
        self._one_at_a_time = threading.Lock()
        self._worse = 1.0  # how much dearer than reserved an answer has been

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """Money for so many tokens."""
        return (input_tokens * self.prices["input"] + output_tokens * self.prices["output"]) / 1e6

    def ask(
        self, requests: Sequence[Request], progress: Progress = silent, stage: str = "hosted"
    ) -> list[Answer | Refused]:
        """An answer to each, in order; what is known is not asked again, and equal ones are asked once.

        Raises:
            UsageError: the key is missing.
            KasautiError: the endpoint gives no answers, or the cap is reached. What was answered is kept.
            StorageError: an answer cannot be written.
        """
        wanted = {one.key: one for one in requests}
        self.ledger.refresh()
        missing = [one for one in wanted.values() if one.key not in self.ledger.answers]
        refused: dict[str, Refused] = {}
        if missing:
            key = api_key(self.endpoint)
            with self._one_at_a_time:
                self._in_loop(self._all(missing, key, refused, _counting(progress, stage, len(wanted), len(missing))))
        return [refused.get(one.key) or self.ledger.answers[one.key] for one in requests]

    def _in_loop(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Run it in a thread of its own, whose connections live on from one call to the next: whoever calls may be a
        thread of a server, or a notebook that has a loop already."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="hosted", daemon=True).start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():  # Ctrl-C: nothing new is sent, and what is paid may come in
                self._stop = KasautiError("interrupted")
                with contextlib.suppress(Exception, concurrent.futures.CancelledError):
                    future.result(LAST_SECONDS)
                future.cancel()
            raise

    async def _all(
        self, missing: Sequence[Request], key: str, refused: dict[str, Refused], told: Callable[[str], None]
    ) -> None:
        self._stop, self._landed = None, asyncio.Event()
        queue = deque(missing)

        async def handle(one: Request) -> None:
            found = await self._one(one, key)
            if isinstance(found, Refused):
                refused[one.key] = found
            told(f"{self.ledger.spent:.2f} spent of {self.endpoint.cap:g}")

        async def work() -> None:
            """The first that goes wrong stops the others before their next request, never within one that is paid."""
            try:
                while queue and self._stop is None:
                    await handle(queue.popleft())
            except Exception as error:
                self._stop = self._stop or error

        while queue and not self._answered:  # one by one, until one is answered
            await handle(queue.popleft())
            if len(refused) >= PROBES and not self._answered:
                raise self._all_refused(next(iter(refused.values())).why)
        await asyncio.gather(*(work() for _ in range(min(self.endpoint.concurrency, len(queue)))))
        if self._stop is not None:
            raise self._stop
        if len(refused) == len(missing) and not self.ledger.answers:
            raise self._all_refused(next(iter(refused.values())).why)

    def _all_refused(self, why: str) -> KasautiError:
        mend = "Mend `hosted` in task.yaml: model, limit_field, temperature (null), max_tokens or parameters."
        return KasautiError(f"every request is refused: {why}", where=self.endpoint.url, mend=mend)

    async def _one(self, request: Request, key: str) -> Refused | None:
        """One request, sent until it is answered. Raises `KasautiError`."""
        until, why = _now() + self.endpoint.total_timeout, ""
        for attempt in range(self.endpoint.retries + 1):
            await self._turn(until)
            id = await self._reserve(request)
            if not id:
                return None
            reply = await self._send(request, id, key)
            if reply.means is Means.ANSWER:
                self._answered = True
                return None
            if reply.means is Means.ROW:
                if "logprob" in reply.why and not self.without_logs:
                    self.without_logs = True
                    return await self._one(request, key)
                return Refused(why=reply.why)
            if reply.means is Means.STOP:
                raise KasautiError(reply.why, where=self.endpoint.url, mend=_mend(reply.why, self.endpoint))
            why = reply.why
            if self._stop is not None:
                raise self._stop
            if attempt < self.endpoint.retries:
                await self._wait(reply, attempt, until)
        raise self._gave_up(why, f"after {self.endpoint.retries + 1} attempts")

    def _gave_up(self, why: str, how: str) -> KasautiError:
        return KasautiError(
            f"no answer {how}: {why}",
            where=self.endpoint.url,
            mend="Run the same command again later: it goes on with what is missing, and what is answered is kept.",
        )

    async def _turn(self, until: float) -> None:
        """Wait until the rate allows one more request."""
        now = _now()
        at = max(now, self._next_at)
        if self.endpoint.requests_per_minute:
            self._next_at = at + 60 / self.endpoint.requests_per_minute
        if at > until and at > now:
            raise self._gave_up("the rate leaves no room", f"within {self.endpoint.total_timeout:g} s")
        await _sleep(at - now)

    async def _reserve(self, request: Request) -> str:
        """The id to send it under; empty where it is answered by now. Waits for what is under way where the cap leaves
        too little, since that costs less than its worst."""
        most = self.cost(request.input_tokens, request.output_tokens) * self._worse
        while True:
            id = self.ledger.reserve(request.key, most, self.endpoint.cap)
            if id is not None:
                return id
            if self._stop is not None:
                raise self._stop
            if not self._flying:
                raise KasautiError(
                    f"the cap of {self.endpoint.cap:g} is reached: {self.ledger.committed:.4g} are spent, and the next "
                    f"request may cost {most:.2g}",
                    where="task.yaml: hosted.cap",
                    mend="Raise it and run the same command again; what is answered is kept.",
                )
            self._landed.clear()
            await self._landed.wait()

    async def _send(self, request: Request, id: str, key: str) -> Reply:
        """One attempt, and its line in the ledger."""
        self._flying += 1
        try:
            began = _now()
            reply = await self._post(request, key)
            if reply.means is Means.ANSWER:
                self.ledger.answered(id, self._answer(request, reply, _now() - began))
                await self._synced()
            elif reply.maybe_paid:
                self.ledger.gone(id, reply.why, told=reply.why[:3].isdigit())
            else:
                self.ledger.void(id, reply.why)
            return reply
        finally:
            self._flying -= 1
            self._landed.set()

    async def _synced(self) -> None:
        """The answers so far are on the disk itself; those that come in meanwhile wait for the next turn together."""
        self._written += 1
        mine = self._written
        async with self._syncing:
            if self._on_disk < mine:
                upto = self._written
                await asyncio.to_thread(self.ledger.sync)
                self._on_disk = upto

    def _answer(self, request: Request, reply: Reply, seconds: float) -> Answer:
        tokens = reply.usage or (request.input_tokens, request.output_tokens)
        cost, most = self.cost(*tokens), self.cost(request.input_tokens, request.output_tokens)
        if most and cost > most * self._worse:  # a server that counts otherwise than anybody knew
            self._worse = cost / most
        return Answer(
            text=reply.text,
            finish=reply.finish,
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            counted=reply.usage is not None,
            cost=cost,
            seconds=seconds,
            model=reply.model,
            tops=reply.tops,
        )

    async def _post(self, request: Request, key: str) -> Reply:
        import httpx2

        body = dict(request.body)
        if self.without_logs:
            body = {name: value for name, value in body.items() if name not in ("logprobs", "top_logprobs")}
        headers = {"Idempotency-Key": self.ledger.idempotency(request.key)}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        sent = False
        try:
            async with asyncio.timeout(self.endpoint.timeout):
                client = self._connected()
                async with client.stream("POST", self.endpoint.url, json=body, headers=headers) as response:
                    sent, content = True, bytearray()
                    async for piece in response.aiter_bytes():
                        content += piece
                        if len(content) > BODY_BYTES:
                            return Reply(means=Means.AGAIN, why="the answer is far too long", maybe_paid=True)
                    names = {name.lower(): value for name, value in response.headers.items()}
                    hidden = bytes(content).replace(key.encode(), b"***") if key else bytes(content)
                    return read_reply(response.status_code, names, hidden)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as error:
            return Reply(means=Means.AGAIN, why=f"no connection ({_hidden(error, key)})")
        except TimeoutError:
            return Reply(means=Means.AGAIN, why=f"not answered within {self.endpoint.timeout:g} s", maybe_paid=True)
        except httpx2.InvalidURL as error:
            return Reply(means=Means.STOP, why=f"no such address ({_hidden(error, key)})")
        except httpx2.HTTPError as error:
            what = "the answer was cut off" if sent else "the connection was lost"
            return Reply(means=Means.AGAIN, why=f"{what} ({_hidden(error, key)})", maybe_paid=True)

    def _connected(self) -> httpx2.AsyncClient:
        import httpx2

        if self._client is None:
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=self.endpoint.concurrency)
            agent = {"User-Agent": f"kasauti/{kasauti.__version__}"}
            self._client = httpx2.AsyncClient(timeout=None, limits=limits, headers=agent)
        return self._client

    async def _wait(self, reply: Reply, attempt: int, until: float) -> None:
        """Before the next attempt: as long as the server says (everybody then, since it counts all requests of a key
        together), else exponential backoff with full jitter."""
        most = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)
        seconds = random.uniform(0, most)
        if reply.after is not None:
            if _now() + reply.after > until:
                raise self._gave_up(f"{reply.why} (it asks to wait {reply.after:g} s)", "in time")
            self._next_at = max(self._next_at, _now() + reply.after)
            seconds = reply.after + random.uniform(0, FIRST_WAIT)
        if _now() + seconds > until:
            raise self._gave_up(reply.why, f"within {self.endpoint.total_timeout:g} s")
        await _sleep(seconds)


def _counting(progress: Progress, stage: str, total: int, missing: int) -> Callable[[str], None]:
    done = total - missing
    progress(stage, done, total)

    def told(remark: str) -> None:
        nonlocal done
        done += 1
        progress(stage, done, total, remark)

    return told


def _hidden(error: BaseException, key: str) -> str:
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    return text.replace(key, "***") if key else text


def _mend(why: str, endpoint: Endpoint) -> str:
    if why.startswith(("401", "403")):
        return (
            f"Check the key in {endpoint.key_env}." if endpoint.key_env else "Name its key's variable: hosted.key_env."
        )
    if why.startswith("404"):
        return "Check hosted.base_url (it mostly ends in /v1) and hosted.model."
    return "Mend that at the provider and run the same command again; what is answered is kept."
