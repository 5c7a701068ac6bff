"""The kernel's calls that Python 3.11 has no name for: namespaces, mounts, capabilities, system call filters.

Walks in: flags and paths. Walks out: nothing, or `OSError` with the name of the call. Only the standard library is
imported, and nothing of the program that is to be run is known here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
_NEWCGROUP, _NEWTIME = 0x02000000, 0x00000080

_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_BIND, _REC, _PRIVATE, _REMOUNT = 4096, 16384, 1 << 18, 32
_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_SETATTR = 442  # the same number on every machine
_PDEATHSIG, _DUMPABLE, _CAPBSET_DROP, _NO_NEW_PRIVS, _CAP_AMBIENT, _SECCOMP = 1, 4, 24, 38, 47, 22

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    whole = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(getattr(_libc, name)(*whole))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces that the flags name, for new ones."""
    _call("unshare", flags)


def die_with_parent() -> None:
    """Be killed when the parent ends, however it ends."""
    _call("prctl", _PDEATHSIG, 9, 0, 0, 0)


def be_inspectable() -> None:
    """Keep the own entries of `/proc` after a change of user; they say which ids a namespace has."""
    _call("prctl", _DUMPABLE, 1, 0, 0, 0)


def keep_mounts_private() -> None:
    """What is mounted from here on is seen in this namespace alone."""
    _call("mount", b"none", b"/", None, _REC | _PRIVATE, None)


def mount_memory(path: str, megabytes: int, mode: str) -> None:
    """An empty folder in memory over `path`."""
    options = f"size={megabytes}m,nr_inodes=4096,mode={mode}".encode()
    _call("mount", b"tmpfs", path.encode(), b"tmpfs", _NOSUID | _NODEV, options)


def bind(source: str, target: str, device: bool = False) -> None:
    """Show `source` at `target`, all that is mounted below it included; to be read only, unless it is a device."""
    _call("mount", source.encode(), target.encode(), None, _BIND | _REC, None)
    read_only(target, devices=device, recursive=True)


def read_only(path: str, *, devices: bool = False, recursive: bool = False) -> None:
    """Nothing below can be written, gain rights when it is run, or (unless said otherwise) be a device."""
    attributes = struct.pack("QQQQ", _RDONLY | _NOSUID | (0 if devices else _NODEV), 0, 0, 0)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    flags = _AT_RECURSIVE if recursive else 0
    _call("syscall", _MOUNT_SETATTR, _AT_FDCWD, path.encode() + b"\0", flags, buffer, len(attributes))


def enter_root(path: str) -> None:
    """Make `path` the root of everything, and let go of the old one."""
    os.chdir(path)
    _call("syscall", _PIVOT_ROOT[os.uname().machine], b".\0", b".\0")
    _call("umount2", b".", _DETACH)
    os.chdir("/")


def drop_bounds() -> None:
    """No program started from here on can gain a capability."""
    for capability in range(64):
        try:
            _call("prctl", _CAPBSET_DROP, capability, 0, 0, 0)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            break  # the kernel knows no more of them
    _call("prctl", _CAP_AMBIENT, 4, 0, 0, 0)


def drop_capabilities() -> None:
    """Give up every capability, and the way to new ones."""
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0), 8)
    nothing = ctypes.create_string_buffer(bytes(24), 24)
    _call("capset", header, nothing)
    _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", _DUMPABLE, 0, 0, 0, 0)


def may(name: str, *arguments: int) -> bool:
    """Whether the kernel still lets this process make a call: what has to be refused is tried once."""
    try:
        _call(name, *arguments)
    except OSError:
        return False
    return True


_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_CLONE3 = 435
MACHINES = tuple(_ARCH)
"""Those whose system calls have known numbers here."""

# What no program under test needs: other processes, namespaces and mounts, keys, the kernel's own insides, clocks, and
# memory that is counted for nobody (System V, message queues, anonymous files).
_REFUSED: dict[str, tuple[int, ...]] = {
    "x86_64": (
        101, 310, 311, 312, 438, 440,  # ptrace, process_vm_readv and writev, kcmp, pidfd_getfd, process_madvise
        165, 166, 155, 161, 272, 308, 303, 304,  # mount to chroot, unshare, setns, file handles
        428, 429, 430, 431, 432, 433, 442,  # the new mount calls
        248, 249, 250, 321, 298, 323, 425, 426, 427,  # keys, bpf, perf, userfaultfd, io_uring
        246, 320, 175, 313, 176, 169, 167, 168, 172, 173, 135, 163, 179, 103, 153, 300, 212,
        164, 227, 305, 159, 170, 171,  # clocks and names
        319, 447, 29, 30, 31, 68, 69, 64, 66, 240,  # memfd, shm, msg, sem, mq
    ),
    "aarch64": (
        117, 270, 271, 272, 438, 440,
        40, 39, 41, 51, 97, 268, 264, 265,
        428, 429, 430, 431, 432, 433, 442,
        217, 218, 219, 280, 241, 282, 425, 426, 427,
        104, 294, 105, 273, 106, 142, 224, 225, 92, 89, 60, 116, 58, 262, 18,
        170, 112, 266, 171, 161, 162,
        279, 447, 194, 196, 195, 186, 187, 190, 191, 180,
    ),
}  # fmt: skip

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_EPERM, _ENOSYS, _AF_UNIX = 1, 38, 1


def filter_calls() -> None:
    """From here on, this process and all it starts are refused the calls above, and any socket but a local one."""
    code = filter_program(os.uname().machine)
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(instructions))
    _call("prctl", _SECCOMP, 2, ctypes.create_string_buffer(program, len(program)), 0, 0)


def filter_program(machine: str) -> bytes:
    """The filter as the kernel reads it: eight bytes an instruction (seccomp(2), "struct sock_filter")."""
    namespaces = NEWNS | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | _NEWCGROUP | _NEWTIME
    refuse = (_RETURN, 0, 0, _ERRNO | _EPERM)
    lines = [
        (_LOAD, 0, 0, 4),  # which machine's calls
        (_EQUAL, 1, 0, _ARCH[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # which call
    ]
    if machine == "x86_64":  # the x32 calls, numbered anew
        lines += [(_AT_LEAST, 0, 1, 0x40000000), refuse]
    for number in _REFUSED[machine]:
        lines += [(_EQUAL, 0, 1, number), refuse]
    # the flags of clone3 lie in memory, where a filter cannot read: the library then falls back to clone
    lines += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    allow = (_RETURN, 0, 0, _ALLOW)
    lines += [(_EQUAL, 0, 4, _CLONE[machine]), (_LOAD, 0, 0, 16), (_ANY_BIT, 0, 1, namespaces), refuse, allow]
    lines += [(_EQUAL, 0, 4, _SOCKET[machine]), (_LOAD, 0, 0, 16), (_EQUAL, 1, 0, _AF_UNIX), refuse, allow]
    return b"".join(struct.pack("HBBI", *line) for line in [*lines, allow])
