"""The files that a program may see: Python, the system's libraries, a temporary folder, and nothing else.

Walks in: an empty folder to build on, in a process that may mount. Walks out: that folder as the root of everything.
Only the standard library is imported. There is no `/proc`, no home, no `/etc` but the linker's cache, no installed
package, and nothing can be written but `/tmp`, which lies in memory and is gone with the last process.
"""

from __future__ import annotations

import glob
import os
import sys

from kasauti.measure.sandbox import kernel

TEMPORARY = "/tmp"
_DEVICES = ("null", "zero", "random", "urandom")
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/libx32")
_LINKED = ("/lib", "/lib64", "/lib32", "/libx32")
"""Links into `/usr` on most systems, folders of their own on others."""
_FILES = ("/etc/ld.so.cache", "/usr/share/zoneinfo")


def build(folder: str, temporary_mb: int) -> None:
    """Make the view on `folder` and step into it; the caller is in a mount namespace of its own.

    Raises:
        OSError: a mount is refused; nothing of the view may be relied on then.
    """
    os.umask(0o022)
    kernel.keep_mounts_private()
    kernel.mount_memory(folder, 16, "0755")
    for path in _LINKED:
        if os.path.islink(path):
            os.symlink(os.readlink(path), folder + path)
    for path in shown():
        _show(path, folder)
    for path in _packages():
        kernel.mount_memory(folder + path, 1, "0755")
        kernel.read_only(folder + path)
    os.makedirs(f"{folder}/dev")
    for name in _DEVICES:
        _show(f"/dev/{name}", folder, device=True)
    os.symlink(TEMPORARY, f"{folder}/dev/shm")
    os.mkdir(folder + TEMPORARY)
    kernel.mount_memory(folder + TEMPORARY, temporary_mb, "1777")
    kernel.read_only(folder)
    kernel.enter_root(folder)


def shown() -> list[str]:
    """What is shown of the machine, outer folders first, none of them inside another."""
    wanted = [*_LIBRARIES, *(path for path in _LINKED if not os.path.islink(path)), *_FILES]
    wanted += [os.path.join(sys.base_prefix, "lib"), os.path.dirname(os.__file__), os.path.realpath(sys.executable)]
    kept: list[str] = []
    for path in sorted({os.path.abspath(p) for p in wanted if os.path.exists(p)}, key=len):
        if not any(path == outer or path.startswith(outer + "/") for outer in kept):
            kept.append(path)
    return kept


def _packages() -> list[str]:
    """Folders of installed packages inside what is shown: the user's own code may be among them."""
    folders = [path for path in shown() if os.path.isdir(path)]
    patterns = ("site-packages", "dist-packages", "python3*/site-packages", "python3*/dist-packages")
    found = {path for folder in folders for pattern in patterns for path in glob.glob(f"{folder}/{pattern}")}
    return sorted(path for path in found if os.path.isdir(path) and not os.path.islink(path))


def _show(path: str, folder: str, device: bool = False) -> None:
    target = folder + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "x"):
            pass
    kernel.bind(path, target, device)
