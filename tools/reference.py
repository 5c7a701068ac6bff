"""Writes the parts of the documentation that the code already says: commands, settings, and the tree.

Walks in: `--help` of every command, the fields of the recipe and of `hosted`, the first line of every module. Walks
out: `docs/commands.md`, and what stands between two marks in `README.md`, `docs/train.md` and `docs/approaches.md`. It
does not know the prose around them.

    python tools/reference.py            write them
    python tools/reference.py --check    name those that are out of date; exit code 1 where there is one
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "kasauti"
WIDTH = "100"
"""Columns that help is wrapped to."""

FILES = {
    "py.typed": "Tells type checkers that this package is annotated.",
    "complaints.csv": "Training complaints, each written individually.",
    "production.csv": "Test complaints, written as production input.",
    "mislabelled.csv": "The training rows whose label is wrong on purpose.",
    "task.yaml": "The task file.",
    "config.json": "Shape of the network.",
    "curve.json": "Loss while it was trained.",
    "generation_config.json": "How the network ends an answer.",
    "tokenizer.json": "Vocabulary and merges.",
    "tokenizer_config.json": "Special tokens.",
    ".css": "Stylesheet: {stem}.",
    ".html": "Template: {stem}.",
    ".js": "Script: {stem}.",
    ".jinja": "Chat template: {stem}.",
    ".json": "Data: {stem}.",
    ".jsonl": "Data: {stem}.",
    ".csv": "Rows: {stem}.",
    ".md": "Card: how it was made, from what, and what it cannot do.",
    ".safetensors": "Weights.",
}
"""Name or suffix → what a file that is no module holds: its line of the tree."""
FOLDERS = {
    "bundled": "The model and the task of the demonstration.",
    "nano": "The bundled model, kasauti/nano.",
    "disputes": "The bundled task: twelve categories of payment complaints.",
    "data": "Rows of the bundled task.",
}
"""Folder without modules → its line of the tree; others have that of their `__init__.py`."""
ROOMS = (
    *("core", "data", "chat", "model", "measure", "train", "approaches", "decide", "registry", "calls", "watch"),
    *("serve", "pages", "cli", "bundled"),
)
"""In the order in which a row walks through them."""


def help_of(*words: str) -> str:
    """What `kasauti WORDS --help` prints, wrapped to `WIDTH` columns and without colour."""
    from kasauti.cli.main import main

    out = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": WIDTH, "NO_COLOR": "1", "TERM": "dumb"}),
        contextlib.redirect_stdout(out),
        contextlib.suppress(SystemExit),
    ):
        main([*words, "--help"])
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def commands() -> list[str]:
    """Names of the commands, in the order of `kasauti --help`."""
    return re.findall(r"^    ([a-z][a-z-]*) {2,}\S", help_of(), flags=re.MULTILINE)


def commands_page() -> str:
    """`docs/commands.md`: the help of every command."""
    parts = ["# Commands", "Written from `--help` by `tools/reference.py`.", _block("kasauti --help", help_of())]
    for name in commands():
        parts += [f"## kasauti {name}", _block(f"kasauti {name} --help", help_of(name))]
    return "\n\n".join(parts) + "\n"


def _block(command: str, text: str) -> str:
    return f"```\n$ {command}\n{text}\n```"


def settings_table() -> str:
    """Every field of the recipe: its name, default, default for a small model where it differs, and what it is."""
    from kasauti.train.recipe import SMALL, Recipe

    meanings = dict(_field_docs(SOURCE / "train" / "recipe.py", "Recipe"))
    lines = ["| field | default | small models | what it is |", "|---|---|---|---|"]
    for field in dataclasses.fields(Recipe):
        small = _shown(SMALL[field.name]) if field.name in SMALL else ""
        lines.append(f"| `{field.name}` | {_shown(field.default)} | {small} | {meanings.get(field.name, '')} |")
    return "\n".join(lines)


def hosted_table() -> str:
    """Every key of `hosted` in the task file: its name, default and meaning."""
    from kasauti.core.hosted import Endpoint

    meanings = dict(_field_docs(SOURCE / "core" / "hosted.py", "Endpoint"))
    lines = ["| key | default | what it is |", "|---|---|---|"]
    for field in dataclasses.fields(Endpoint):
        default = {"base_url": "", "model": "", "parameters": "`{}`"}.get(field.name)
        shown = ("`null`" if field.default is None else _shown(field.default)) if default is None else default
        lines.append(f"| `{field.name}` | {shown} | {meanings[field.name]} |")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def _field_docs(path: Path, name: str) -> Iterator[tuple[str, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    for field, text in zip(found.body, found.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield ast.unparse(field.target), " ".join(str(text.value.value).split())


def tree() -> str:
    """Every file of the package with a line each: of a module, the first of its docstring."""
    return "\n".join(["```", "src/kasauti/", *_branch(SOURCE, 1), "```"])


def _branch(folder: Path, depth: int) -> Iterator[str]:
    entries = [path for path in sorted(folder.iterdir()) if path.name not in ("__pycache__", "__init__.py")]
    for path in sorted(entries, key=lambda path: (path.is_dir(), _place(path, depth))):
        if path.is_dir():
            yield _line(path.name + "/", _about_folder(path), depth)
            yield from _branch(path, depth + 1)
        else:
            yield _line(path.name, _about(path), depth)


def _place(path: Path, depth: int) -> tuple[int, str]:
    return (ROOMS.index(path.name) if depth == 1 and path.name in ROOMS else 0, path.name)


def _line(name: str, about: str, depth: int) -> str:
    return f"{'  ' * depth + name:<28}{about}".rstrip()


def _about_folder(folder: Path) -> str:
    init = folder / "__init__.py"
    return (_first_line(init) if init.exists() else "") or FOLDERS.get(folder.name, "")


def _about(path: Path) -> str:
    if path.suffix == ".py":
        return _first_line(path)
    return FILES.get(path.name, FILES.get(path.suffix, "")).format(stem=path.stem.replace("_", " "))


def _first_line(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n", 1)[0].split())
    return re.split(r"(?<=[.?!])\s", paragraph, maxsplit=1)[0]


def between_marks(text: str, name: str, content: str) -> str:
    """A page with `content` between `<!-- name -->` and `<!-- /name -->`.

    Raises:
        ValueError: the page has no such marks.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", flags=re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no <!-- {name} --> … <!-- /{name} --> in the page")
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def pages() -> dict[Path, str]:
    """Every page that is written here, as it should be."""
    readme, train = ROOT / "README.md", ROOT / "docs" / "train.md"
    approaches = ROOT / "docs" / "approaches.md"
    return {
        ROOT / "docs" / "commands.md": commands_page(),
        readme: between_marks(readme.read_text(encoding="utf-8"), "tree", tree()),
        approaches: between_marks(approaches.read_text(encoding="utf-8"), "hosted", hosted_table()),
        train: between_marks(train.read_text(encoding="utf-8"), "settings", settings_table()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or with `--check` only name those that are out of date."""
    parser = argparse.ArgumentParser(description="Writes docs/commands.md, the README's tree and the settings' table.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a page is out of date")
    check = parser.parse_args(arguments).check
    wanted = pages()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'out of date; run tools/reference.py' if check else 'written'}")
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
