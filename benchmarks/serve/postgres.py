"""A PostgreSQL cluster in a temporary folder, run by an unprivileged user.

Walks in: nothing. Walks out: a server that can be stopped, frozen and started as one in production is. It does not know
what is kept in it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

_numbers = count(1)


class Cluster:
    """A server process with its data; it can be stopped, killed and started as a database in production is.

    Args:
        binaries: folder of initdb and pg_ctl.
        folder: of its own.
        user: who runs it; None for whoever runs the tests.
    """

    def __init__(self, binaries: Path, folder: Path, user: str | None, *options: str) -> None:
        self._binaries, self._folder, self._user = binaries, folder, user
        self.data = folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._run("initdb", "-D", self.data, "-A", "trust", "-U", "kasauti", "--no-sync", "-E", "UTF8", "--locale=C")
        lines = [f"port = {self.port}", "listen_addresses = '127.0.0.1'", f"unix_socket_directories = '{folder}'"]
        lines += ["shared_buffers = 16MB", "max_connections = 40", *options]
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write("\n".join(lines) + "\n")
        self.start()

    def database(self) -> str:
        """The URL of a new, empty place: a schema of its own, as a database would be three hundred files."""
        name = f"calls{next(_numbers)}"
        place = ("-h", "127.0.0.1", "-p", self.port, "-U", "kasauti", "-q", "-d", "postgres")
        self._run("psql", *place, "-c", f"CREATE SCHEMA {name}")
        return f"postgresql://kasauti@127.0.0.1:{self.port}/postgres?options=-csearch_path%3D{name}"

    def start(self) -> None:
        """Returns when it takes connections."""
        self._run("pg_ctl", "-D", self.data, "-w", "-l", self._folder / "log", "start")

    def stop(self) -> None:
        """As an operator would: running transactions are cut off."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def freeze(self) -> None:
        """Every process of it stands still; its connections stay, and say nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """The end of `freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, which: signal.Signals) -> None:
        first = int((self.data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(first)], capture_output=True, text=True, check=False
        )
        for one in (first, *map(int, children.stdout.split())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, which)

    def _run(self, program: str, *words: object) -> None:
        command = [str(self._binaries / program), *map(str, words)]
        ended = subprocess.run(
            command, user=self._user, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            check=False, extra_groups=[] if self._user else None,
        )  # fmt: skip
        if ended.returncode:
            raise RuntimeError(f"{program}: {ended.stderr}")


def binaries() -> Path | None:
    """The folder of the newest PostgreSQL on this machine; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@contextlib.contextmanager
def cluster(*options: str) -> Iterator[Cluster]:
    """A cluster that is gone afterwards; options are lines of postgresql.conf, and without any it does not sync to
    disk, which only a power cut would tell.

    Raises:
        FileNotFoundError: PostgreSQL is not installed.
    """
    programs = binaries()
    if programs is None:
        raise FileNotFoundError("PostgreSQL is not installed here")
    user = None
    if os.geteuid() == 0:  # which PostgreSQL refuses
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = next((name for name in ("postgres", "nobody") if name in names), None)
    folder = Path(tempfile.mkdtemp(prefix="kasauti-pg-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        one = Cluster(programs, folder, user, *(options or ("fsync = off",)))
        try:
            yield one
        finally:
            with contextlib.suppress(RuntimeError, FileNotFoundError):
                one.thaw()
                one.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
