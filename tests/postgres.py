"""The benchmarks' PostgreSQL cluster, for tests; they are skipped where PostgreSQL is not installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SERVE = Path(__file__).parents[1] / "benchmarks" / "serve"


def load(name: str) -> ModuleType:
    """A module of benchmarks/serve."""
    known = f"benchmarks_serve_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, SERVE / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module
        spec.loader.exec_module(module)
    return sys.modules[known]


@contextmanager
def cluster(*options: str) -> Iterator[Any]:
    """See `cluster` there."""
    module = load("postgres")
    if module.binaries() is None:
        pytest.skip("PostgreSQL is not installed here")
    with module.cluster(*options) as one:
        yield one
