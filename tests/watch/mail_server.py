"""A small SMTP server, a process of its own: prints its port, then every letter it took as a JSON line.

python mail_server.py [--busy N] [--refuse]      N connections are turned away with 421; recipients are refused
"""

from __future__ import annotations

import asyncio
import json
import sys


async def main(busy: int, refuse: bool) -> None:
    left = [busy]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(line.encode() + b"\r\n")

        if left[0]:
            left[0] -= 1
            say("421 busy")
            await writer.drain()
            writer.close()
            return
        say("220 ready")
        letter = {"to": []}
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            word = line.upper().split(":")[0].split()[0]
            if word == "MAIL":
                letter["from"] = line
            if word == "RCPT" and not refuse:
                letter["to"].append(line)
            if word == "DATA":
                say("354 go on")
                lines = []
                while (part := (await reader.readline()).decode().rstrip("\r\n")) != ".":
                    lines.append(part.removeprefix(".") if part.startswith("..") else part)
                print(json.dumps({**letter, "data": "\n".join(lines)}), flush=True)
            say("550 no such mailbox" if word == "RCPT" and refuse else "221 bye" if word == "QUIT" else "250 ok")
            await writer.drain()
            if word == "QUIT":
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    count = int(sys.argv[sys.argv.index("--busy") + 1]) if "--busy" in sys.argv else 0
    asyncio.run(main(count, "--refuse" in sys.argv))
