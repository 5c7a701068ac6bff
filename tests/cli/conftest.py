"""Runs the command line in this process, and sees what each stream got."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kasauti.cli.main import main


class Ran(NamedTuple):
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def error_line(self) -> str:
        """The one line on standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("kasauti: ")
        return lines[0].removeprefix("kasauti: ")


@pytest.fixture
def kasauti(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`kasauti("trial", "--task", folder)`."""

    def run(*words: object) -> Ran:
        capfd.readouterr()
        code = main([str(word) for word in words])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def tree() -> Callable[[Path], dict[str, str]]:
    """Every file below a folder with the hash of its content."""

    def look(folder: Path) -> dict[str, str]:
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    return look


@pytest.fixture
def finished(finished_task: Any, tmp_path: Path) -> Path:
    """A copy of the task whose trial is finished."""
    return Path(shutil.copytree(finished_task[0], tmp_path / "finished"))
