"""A server process that speaks the OpenAI protocol, answers by rule, goes wrong on demand, and counts what it charges.

Nothing of Kasauti is in it: asyncio and HTTP by hand, so that it can break off in the middle of what it sends. It runs
as `python endpoint.py FOLDER`, writes its port into FOLDER/port, what it is told to do wrong is read from
FOLDER/faults.json (a list that is worked through, one entry a request), and every request becomes a line of
FOLDER/seen.jsonl.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEY = "sk-proj-ThisKeyMustNeverBeWritten0123456789"
WORDS = {
    "refund": ("refund", "money", "returned", "credit", "reversed", "wallet", "repaid", "pending", "balance"),
    "card": ("card", "blocked", "declined", "swipe", "pin", "chip", "expired", "atm", "machine", "plastic"),
    "parcel": ("parcel", "delivery", "courier", "box", "late", "arrived", "package", "address", "driver", "door"),
}
LABELS = list(WORDS)


class Endpoint:
    """A running server, as a test sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{(folder / 'port').read_text()}/v1"

    def fault(self, *faults: Mapping[str, Any], repeat: int = 1) -> None:
        """What the next requests meet, one each; after those all is well."""
        kept = self.folder / "faults.json"
        kept.with_suffix(".new").write_text(json.dumps(list(faults) * repeat))
        os.replace(kept.with_suffix(".new"), kept)

    @property
    def seen(self) -> list[dict[str, Any]]:
        """Every request: `body`, `key` (Idempotency-Key), `authorization`, `fault`, `charged` (tokens in and out),
        `under_way` (requests, this one included)."""
        path = self.folder / "seen.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def charged(self) -> Counter[str]:
        """How often each text was charged for."""
        return Counter(one["body"]["messages"][-1]["content"] for one in self.seen if one["charged"])

    def money(self, prices: Mapping[str, float]) -> float:
        """What the server would put on the bill."""
        tokens = [one["charged"] for one in self.seen if one["charged"]]
        return sum(a * prices["input"] + b * prices["output"] for a, b in tokens) / 1e6

    def forget(self) -> None:
        """As if nothing had been asked."""
        self.fault()
        (self.folder / "seen.jsonl").write_text("")


@contextmanager
def endpoint(folder: Path) -> Iterator[Endpoint]:
    """A server in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "port").unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, __file__, str(folder)])
    try:
        while not (folder / "port").exists():
            assert process.poll() is None
            time.sleep(0.01)
        yield Endpoint(folder)
    finally:
        process.kill()
        process.wait()


def tokens_of(messages: Sequence[Mapping[str, str]]) -> int:
    """A tokenizer of sorts: four bytes a token, five around a turn."""
    return sum(math.ceil(len(m["content"].encode()) / 4) + 5 for m in messages)


def scores_of(text: str) -> dict[str, float]:
    """Probability of every label: by its words in the text, with some doubt."""
    hits = {label: sum(word in text.split() for word in words) for label, words in WORDS.items()}
    doubt = 0.15 + int(hashlib.sha256(text.encode()).hexdigest()[:4], 16) / 65536
    weights = {label: math.exp(n / doubt / 3) for label, n in hits.items()}
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}


def completion(body: Mapping[str, Any], fault: Mapping[str, Any]) -> dict[str, Any]:
    """A whole chat completion."""
    scores = scores_of(body["messages"][-1]["content"])
    label = max(scores, key=scores.__getitem__)
    text = fault.get("says", label)
    used = {"prompt_tokens": tokens_of(body["messages"]), "completion_tokens": 2}
    logprobs = None
    if body.get("logprobs") and not fault.get("plain"):
        # A label is two tokens: its first letter, which tells these labels apart, and the rest.
        def token(piece: str, p: float) -> dict[str, Any]:
            return {"token": piece, "logprob": math.log(p), "bytes": list(piece.encode())}

        first = [token(name[0], p) for name, p in sorted(scores.items(), key=lambda pair: -pair[1])]
        start = first[: body.get("top_logprobs", 0)]
        rest = token(label[1:], 0.999)
        logprobs = {"content": [{**first[0], "top_logprobs": start}, {**rest, "top_logprobs": [rest]}]}
    choice = {"index": 0, "message": {"role": "assistant", "content": text, "refusal": None}, "logprobs": logprobs}
    choice["finish_reason"] = fault.get("finish", "stop")
    made = {"id": "x", "object": "chat.completion", "model": body["model"] + "-0613", "choices": [choice]}
    return made if fault.get("no_usage") else {**made, "usage": used}


class Server:
    """What runs in the process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.once: dict[str, bytes] = {}  # Idempotency-Key → what was answered
        self.under_way = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # For its sender a request is over with the last byte, so it is counted off before that is sent.
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
                raw = await reader.readexactly(int(headers.get("content-length", 0)))
                self.under_way += 1
                try:
                    last = await self.answer(headers, json.loads(raw), writer)
                finally:
                    self.under_way -= 1
                if last is None:
                    return
                writer.write(last)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def next_fault(self) -> dict[str, Any]:
        path = self.folder / "faults.json"
        faults = json.loads(path.read_text()) if path.exists() else []
        if faults:
            path.write_text(json.dumps(faults[1:]))
        return faults[0] if faults else {}

    async def answer(self, headers: dict[str, str], body: dict[str, Any], writer: asyncio.StreamWriter) -> bytes | None:
        fault, key = self.next_fault(), headers.get("idempotency-key", "")
        knows = self.folder / "idempotent"  # what it holds keeps the keys of one test from those of another
        key_here = f"{knows.read_text()} {key}" if knows.exists() else ""
        known = self.once.get(key_here)
        seen = {
            "body": body,
            "key": key,
            "authorization": headers.get("authorization"),
            "fault": fault,
            "charged": None,
        }
        status = fault.get("status", 200)
        if headers.get("authorization") != f"Bearer {KEY}" and not (self.folder / "open").exists():
            status, content = 401, {"error": {"message": f"Incorrect API key: {headers.get('authorization')}"}}
        elif status != 200:
            content = {"error": {"message": fault.get("message", f"trouble {status}"), "code": fault.get("code")}}
        else:
            content = completion(body, fault)
            if known is None and not fault.get("before"):
                used = content.get("usage") or {"prompt_tokens": tokens_of(body["messages"]), "completion_tokens": 2}
                seen["charged"] = [used["prompt_tokens"], used["completion_tokens"]]
        seen["under_way"] = self.under_way
        with (self.folder / "seen.jsonl").open("a") as file:
            file.write(json.dumps(seen) + "\n")
        data = known or json.dumps(content).encode()
        if status == 200 and key_here:
            self.once[key_here] = data
        if fault.get("body") is not None:
            data = fault["body"].encode()
        if fault.get("seconds"):
            await asyncio.sleep(fault["seconds"])
        if fault.get("reset"):
            writer.transport.abort()
            return None
        more = "".join(f"{name}: {value}\r\n" for name, value in fault.get("headers", {}).items())
        start = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{more}\r\n"
        writer.write(start.encode())
        if fault.get("half"):
            writer.write(data[: len(data) // 2])
            await writer.drain()
            return None
        each = fault.get("drip", len(data)) or 1
        for at in range(0, len(data) - each, each):
            writer.write(data[at : at + each])
            await writer.drain()
            await asyncio.sleep(0.05)
        return data[-(len(data) % each or each) :]


async def main(folder: Path) -> None:
    server = await asyncio.start_server(Server(folder).handle, "127.0.0.1", 0)
    (folder / ".port").write_text(str(server.sockets[0].getsockname()[1]))
    os.replace(folder / ".port", folder / "port")
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
