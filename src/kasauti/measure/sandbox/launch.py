"""Behind the wall: takes one program from standard input, runs it where it can do no harm, says how it ended.

Walks in: a job as JSON on standard input, after its length in eight bytes. Walks out: a status as JSON on the
descriptor named on the command line. Three processes share the work, and none but the last runs a line of the program:

    outside   leaves the namespaces, watches clock and memory, and kills all when standard input is closed
    first     process 1 of the new namespace: builds the view, waits; with its end the kernel kills every other in it
    program   gives up all rights, checks that they are gone, runs the program

Only the standard library and this folder are imported. What cannot be set up is a refusal; nothing is run then.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any, NoReturn

from kasauti.measure.sandbox import kernel, view
from kasauti.measure.sandbox.program import run

TICK = 0.05
"""Seconds between two looks at memory: 0.05 at 2 GB a second is 100 MB over the limit at most."""
_LONE_UID = 1_800_000_000
"""Where the user ids begin that nobody has: with one of its own, a program shares no right and no count."""
_NOBODY = 65534


class Refused(Exception):
    """A part of the isolation is not there."""


def main() -> None:
    """One job, from standard input to the status descriptor."""
    status = int(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    job = json.loads(_read(int.from_bytes(_read(8), "big")))
    try:
        said = _outside(job, status)
    except (OSError, Refused) as error:
        said = {"refused": _line(error)}
    os.write(status, json.dumps(said).encode())


def _read(size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = os.read(0, size - len(parts))
        if not part:
            raise SystemExit(1)  # whoever asked is gone
        parts += part
    return parts


def _outside(job: dict[str, Any], status: int) -> dict[str, Any]:
    if os.uname().machine not in kernel.MACHINES:
        raise Refused(f"system calls cannot be filtered on {os.uname().machine}")
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        raise Refused("/proc does not tell the children of a process")
    own_user = _leave(job["number"])
    kernel.die_with_parent()
    answer, tell = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(answer)
        os.close(status)
        _first(job, tell, own_user)
    os.close(tell)
    try:
        return _watch(job, first, answer)
    finally:
        os.kill(first, signal.SIGKILL)  # not reaped yet, so the number is still its own
        os.waitpid(first, 0)  # returns when the last process of the namespace is gone


def _leave(number: int) -> bool:
    """New namespaces. Returns whether they have a user of their own, as those of an ordinary user need.

    Raises:
        OSError: the kernel refuses them.
    """
    spaces = kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS
    if os.geteuid() == 0:
        try:
            kernel.unshare(spaces)
            return False
        except PermissionError:  # root without the right to it, as in most containers
            # the kernel counts no processes of root, whatever its limit: go on as nobody
            _become(_LONE_UID + number)
            kernel.be_inspectable()
    user, group = os.geteuid(), os.getegid()
    try:
        kernel.unshare(spaces | kernel.NEWUSER)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EUSERS):  # "no space left" is how the kernel says it
            raise Refused("user namespaces are switched off, or all of them are taken") from error
        raise
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return True


def _watch(job: dict[str, Any], first: int, answer: int) -> dict[str, Any]:
    """Wait for what the first process says; end it for time, for memory, or when nobody waits for the answer."""
    deadline = time.monotonic() + job["wall_seconds"]
    poll = select.poll()
    poll.register(answer, select.POLLIN)
    poll.register(0, select.POLLIN)
    said = b""
    while True:
        ready = {descriptor for descriptor, _ in poll.poll(1000 * TICK)}
        if 0 in ready:
            return {"ended": "stopped"}
        if answer in ready:
            part = os.read(answer, 65536)
            said += part
            if not part:
                return dict(json.loads(said)) if said else {"ended": "status", "status": signal.SIGKILL}
        elif time.monotonic() > deadline:
            return {"ended": "time"}
        else:
            processes, memory = _held(first)
            if memory > job["memory_mb"] * 2**20:
                return {"ended": "memory"}
            if processes > job["processes"]:  # a kernel that does not hold to the limit
                return {"ended": "processes"}


def _held(process: int) -> tuple[int, int]:
    """How many processes there are below this one, and how many bytes of memory they hold."""
    number, total, waiting = 0, 0, [str(process)]
    page = os.sysconf("SC_PAGE_SIZE")
    while waiting:
        folder = f"/proc/{waiting.pop()}"
        try:
            if folder != f"/proc/{process}":
                with open(f"{folder}/statm") as file:
                    total += int(file.read().split()[1]) * page
                number += 1
            for task in os.listdir(f"{folder}/task"):
                with open(f"{folder}/task/{task}/children") as file:
                    waiting += file.read().split()
        except (FileNotFoundError, ProcessLookupError):  # it ended while it was looked at
            continue
    return number, total


def _first(job: dict[str, Any], tell: int, own_user: bool) -> NoReturn:
    """Process 1 of the namespace."""
    os.setsid()  # a signal to the program's group must not reach whoever is outside
    kernel.die_with_parent()
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    try:
        kernel.unshare(kernel.NEWNS)
        view.build(job["folder"], 4 * job["file_mb"])
        said = _wait_for(*_start(job, own_user))
    except (OSError, Refused) as error:
        said = {"refused": _line(error)}
    os.write(tell, json.dumps(said).encode())
    os._exit(0)


def _start(job: dict[str, Any], own_user: bool) -> tuple[int, int, bytes]:
    """The program, in its own process: its number, the pipe on which it reports, the word that a report begins with.

    Raises:
        Refused: it could not be confined; it has not been run.
    """
    word = os.urandom(16)
    ready, say_ready = os.pipe()
    report, say_report = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            # of all descriptors only output and the two pipes stay
            low, high = sorted((say_ready, say_report))
            for first, last in ((3, low), (low + 1, high), (high + 1, 4096)):
                os.closerange(first, last)
            _confine(job, own_user)
            os.close(say_ready)  # without a word: all is well
        except BaseException as error:
            os.write(say_ready, _line(error).encode())
            os._exit(1)
        run(job["program"], say_report, word)
    os.close(say_ready)
    os.close(say_report)
    fault = os.read(ready, 4096)
    if fault:
        raise Refused(fault.decode("utf-8", "replace"))
    return child, report, word


def _wait_for(child: int, report: int, word: bytes) -> dict[str, Any]:
    while True:  # others of the namespace end here too
        ended, status, usage = os.wait4(-1, 0)
        if ended == child:
            break
    os.set_blocking(report, False)
    try:
        said = os.read(report, 8192)
    except BlockingIOError:  # another process holds the pipe open, and nothing is in it
        said = b""
    spoken = said[len(word) :].decode("utf-8", "replace") if said.startswith(word) else ""
    return {"ended": "status", "status": status, "report": spoken, "cpu": usage.ru_utime + usage.ru_stime}


def _confine(job: dict[str, Any], own_user: bool) -> None:
    """Give up what a program must not have, for good."""
    megabyte, seconds = 2**20, max(1, round(job["seconds"]))
    # in a user namespace of its own, the two processes that wait count too
    processes = job["processes"] + (2 if own_user else 0)
    for limit, soft, hard in (
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, job["memory_mb"] * megabyte, job["memory_mb"] * megabyte),
        (resource.RLIMIT_FSIZE, job["file_mb"] * megabyte, job["file_mb"] * megabyte),
        (resource.RLIMIT_NPROC, processes, processes),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
    ):
        resource.setrlimit(limit, (soft, hard))
    kernel.drop_bounds()
    if not own_user:
        os.setgroups([])
        _become(_LONE_UID + job["number"])
    kernel.drop_capabilities()
    kernel.filter_calls()
    _check(job, own_user)


def _become(user: int) -> None:
    try:
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError:  # a container that has not so many
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def _check(job: dict[str, Any], own_user: bool) -> None:
    """Try what must not be possible. Raises `Refused` where it is."""
    if os.getppid() != 1 or (not own_user and 0 in (*os.getresuid(), *os.getresgid())):
        raise Refused("the program would run with rights of its own")
    if os.path.exists(job["folder"]) or os.path.exists("/proc/self") or os.path.exists("/etc/passwd"):
        raise Refused("the machine's files would be seen")
    if not os.access(os.__file__, os.R_OK):  # every import would fail, and the program be blamed
        raise Refused(f"{os.path.dirname(os.__file__)} may not be read by others than its owner")
    for name in os.listdir("/"):
        if name != view.TEMPORARY[1:] and os.access(f"/{name}", os.W_OK):
            raise Refused(f"/{name} could be written")
    if kernel.may("socket", 2, 1, 0):
        raise Refused("a network connection could be made")
    if kernel.may("unshare", kernel.NEWUSER) or kernel.may("ptrace", 0, 0, 0, 0):
        raise Refused("the filter of system calls does not hold")


def _line(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    named = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    return f"{text}{named}" if isinstance(error, OSError | Refused) else f"{type(error).__name__}: {text}"
