"""What the documentation says is true: commands, options, settings, the tree, versions and links."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import kasauti
from kasauti.train.recipe import SMALL, Recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = sorted(path.name for path in (ROOT / "src" / "kasauti").iterdir() if len(list(path.glob("*.py"))) > 1)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _load(ROOT / "tools" / "reference.py")


@cache
def commands() -> tuple[str, ...]:
    return tuple(reference.commands())


@cache
def help_of(*words: str) -> str:
    return reference.help_of(*words)


def code_of(page: Path) -> list[str]:
    """Lines of code blocks and pieces of inline code of a page."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", rest)


def calls_of(page: Path) -> list[tuple[str, list[str]]]:
    """`(command, its long options)` for every call of kasauti that a page shows."""
    calls = []
    for line in code_of(page):
        for call in re.findall(r"(?:^|[\s/$])kasauti ([a-z][^#|`]*)", line.strip()):
            words = call.split()
            calls.append((words[0], [word.partition("=")[0] for word in words if word.startswith("--")]))
    return calls


def test_the_command_line_has_commands():
    assert {"demo", "init", "audit", "plan", "train", "trial", "predict", "versions"} <= set(commands())


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_that_a_page_shows_exists(name):
    for command, options in calls_of(ROOT / name):
        assert command in commands(), f"{name} shows `kasauti {command}`"
        missing = [option for option in options if option not in help_of(command)]
        assert missing == [], f"{name} shows `kasauti {command} {missing[0]}`"


def test_the_readme_names_every_command():
    assert set(commands()) <= {command for command, _ in calls_of(ROOT / "README.md")}


def test_the_help_of_every_command_names_the_options_that_all_share():
    for command in commands():
        assert "--json" in help_of(command), command


def test_the_readme_shows_every_target_of_make_that_it_names():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"\bmake ([a-z]+)\b", "\n".join(code_of(page)))}
    assert named <= targets
    assert {"demo", "test"} <= named


def test_the_readmes_tree_is_the_disk():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert reference.between_marks(readme, "tree", reference.tree()) == readme, "run `make docs`"


def test_every_line_of_the_tree_says_what_the_file_is():
    lines = reference.tree().splitlines()[2:-1]
    assert [line.strip() for line in lines if " " not in line.strip()] == []


def test_the_settings_table_is_the_recipe():
    page = (ROOT / "docs" / "train.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| (?:`(.*?)`)? ?\|", page, flags=re.MULTILINE)
    table = {name: (default, small) for name, default, small in rows if name in Recipe.__dataclass_fields__}
    assert table == {
        field.name: (_written(field.default), _written(SMALL[field.name]) if field.name in SMALL else "")
        for field in dataclasses.fields(Recipe)
    }


def _written(value: object) -> str:
    return str(list(value) if isinstance(value, tuple) else value)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse lays help out differently in each version")
def test_the_reference_of_commands_is_their_help():
    assert (ROOT / "docs" / "commands.md").read_text("utf-8") == reference.commands_page(), "run `make docs`"


@pytest.mark.parametrize("room", ROOMS)
def test_the_page_of_a_room_names_what_is_in_it_and_nothing_else(room):
    folder = ROOT / "src" / "kasauti" / room
    there = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    there |= {f"{path.name}/" for path in folder.iterdir() if path.is_dir() and path.name != "__pycache__"}
    page = (ROOT / "docs" / f"{room}.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([\w.]+(?:\.py|/))` \|", page, flags=re.MULTILINE)) - {"adapter/"} == there


def test_the_page_of_the_data_room_names_every_check():
    from kasauti.data.audit import CHECKS

    page = (ROOT / "docs" / "data.md").read_text("utf-8")
    assert set(CHECKS) <= set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))


def test_the_page_of_the_approaches_names_every_one():
    from kasauti.approaches.catalogue import CATALOGUE

    page = (ROOT / "docs" / "approaches.md").read_text("utf-8")
    assert set(CATALOGUE) <= set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))


def test_the_page_of_measures_names_every_kind():
    from kasauti.measure.kinds import KINDS

    page = (ROOT / "docs" / "measure.md").read_text("utf-8")
    assert set(KINDS) <= set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))


def test_the_changelog_has_this_version():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)
    assert kasauti.__version__ in headings


@pytest.mark.parametrize("name", NAMES)
def test_every_link_within_the_repository_leads_somewhere(name):
    page = ROOT / name
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readmes_task_file_is_valid(tmp_path):
    from kasauti.core.task import parse_task
    from kasauti.train.recipe import FIELDS

    block = re.search(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    task = parse_task(block[1], folder=tmp_path, where="README.md", known_train_fields=FIELDS)
    assert task.name == "payment-disputes"
    assert task.fallback in task.labels


def test_the_module_can_be_run_without_being_installed():
    run = subprocess.run(
        [sys.executable, "-m", "kasauti.cli.main", "--help"],
        cwd=ROOT / "src", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0
    assert "kasauti" in run.stdout


def test_a_page_without_marks_is_an_error():
    with pytest.raises(ValueError, match="tree"):
        reference.between_marks("# A page\n", "tree", "x")


def test_what_stands_between_marks_is_replaced_and_nothing_else():
    page = "a\n<!-- tree -->\nold\n<!-- /tree -->\nb\n"
    assert reference.between_marks(page, "tree", r"new \1") == "a\n<!-- tree -->\nnew \\1\n<!-- /tree -->\nb\n"
