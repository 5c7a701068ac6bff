"""What something ran on, and how it was started: what a reader needs to do it again.

Walks in: nothing. Walks out: plain values for a JSON document. It imports no library to ask for its version.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from typing import Any

LIBRARIES = (
    "torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "tokenizers", "scikit-learn",
    "numpy", "scipy",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Versions of the libraries that results depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def command() -> str:
    """The command line of this process, the program by its name alone."""
    return shlex.join([os.path.basename(sys.argv[0] or "python"), *sys.argv[1:]])
