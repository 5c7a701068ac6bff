"""The import rule of the house, read from the source: who may know whom, and how large a file may grow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "kasauti"

ROOMS: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("data", "chat", "model", "measure"),  # these do not know each other
    ("train",),
    ("approaches",),
    ("decide",),
    ("registry",),
    ("calls",),
    ("watch",),
    ("serve",),
    ("pages",),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
TORCH_ROOMS = {"model", "train"}
DATA = "bundled"
"""Holds files and no code: whoever needs them may know where they are."""
LONGEST_FILE = 400
LONGEST_FUNCTION = 80
# what is imported is not always what is installed
DISTRIBUTIONS = {
    "huggingface_hub": "huggingface-hub",
    "llama_cpp": "llama-cpp-python",
    "prometheus_client": "prometheus-client",
    "rouge_score": "rouge-score",
    "sentence_transformers": "sentence-transformers",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


@dataclass(frozen=True)
class Import:
    """One import statement, or the full name of a module in a string (a lazy table)."""

    importer: str
    target: str
    line: int
    at_import: bool
    """Runs when the module is imported; not inside a function, and not for the type checker alone."""
    spelled: bool = True
    """An import statement; False for a name in a string."""

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: {self.target}"


def modules_of(source: Path) -> dict[str, Path]:
    """Dotted name → file, for every module under a package folder."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(modules: Mapping[str, Path]) -> list[Import]:
    """Every import of every module; `from a import b` names `a.b` where that is a module, else `a`."""
    return [found for name, path in modules.items() for found in _imports(name, path, modules)]


def _imports(name: str, path: Path, modules: Mapping[str, Path]) -> Iterator[Import]:
    lazy = set(modules) - {"kasauti"}
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node, at_import in _walk(ast.parse(path.read_text(encoding="utf-8")), True):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, alias.name, node.lineno, at_import)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield Import(name, full if full in modules else base, node.lineno, at_import)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in lazy:
            yield Import(name, node.value, node.lineno, False, spelled=False)


def _walk(node: ast.AST, at_import: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _for_types_only(child)
        yield child, at_import and not inside
        yield from _walk(child, at_import and not inside)


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def room_of(module: str) -> str | None:
    """The room that a module of the package stands in; None for the package itself and for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == "kasauti" and len(parts) > 1 else None


def wrong_ways(imports: list[Import]) -> list[str]:
    """Imports that go down the house, or across to a room that must not be known."""
    wrong = []
    for found in imports:
        own, other = room_of(found.importer), room_of(found.target)
        if other in (None, own, DATA):
            continue
        if own is None or own not in LEVEL or other not in LEVEL or LEVEL[other] >= LEVEL[own]:
            wrong.append(str(found))
    return wrong


def cycle_in(imports: list[Import]) -> list[str]:
    """Some cycle among the modules of the package, imports inside functions included; empty where there is none."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        if found.spelled and found.target.split(".")[0] == "kasauti" and found.target != found.importer:
            graph.setdefault(found.importer, set()).add(found.target)
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph.get(module, ())):
            if cycle := visit(target, [*trail, module]):
                return cycle
        done.add(module)
        return []

    return next((cycle for module in sorted(graph) if (cycle := visit(module, []))), [])


def eager_torch(imports: list[Import]) -> list[str]:
    """Imports of torch that run when a module outside `model` and `train` is imported."""
    return [
        str(found)
        for found in imports
        if found.at_import and found.target.split(".")[0] == "torch" and room_of(found.importer) not in TORCH_ROOMS
    ]


@pytest.fixture(scope="module")
def modules() -> dict[str, Path]:
    return modules_of(SOURCE)


@pytest.fixture(scope="module")
def imports(modules: dict[str, Path]) -> list[Import]:
    return imports_of(modules)


def test_every_folder_of_the_package_is_a_room():
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= {*LEVEL, DATA}


def test_what_is_bundled_is_no_code():
    assert [path.name for path in (SOURCE / DATA).rglob("*.py")] == ["__init__.py"]


def test_no_module_imports_from_a_room_below_or_beside_its_own(imports):
    assert wrong_ways(imports) == []


def test_torch_is_imported_in_model_and_train_or_inside_functions(imports):
    assert eager_torch(imports) == []


def test_no_import_cycle_even_inside_functions(imports):
    assert cycle_in(imports) == []


def test_every_module_has_a_docstring(modules):
    bare = [name for name, path in modules.items() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert bare == []


def test_only_the_command_line_prints(modules):
    printing = [
        f"{name}, line {node.lineno}"
        for name, path in modules.items()
        if room_of(name) != "cli"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


@pytest.mark.parametrize("folder", ["src", "tests", "tools", "benchmarks"])
def test_no_file_is_longer_than_a_reader_can_hold(folder):
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_function_is_longer_than_a_screen_and_a_half(modules):
    long = {
        f"{name}.{node.name}": length
        for name, path in modules.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    }
    assert long == {}


def test_every_package_that_is_imported_is_declared(imports):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = sum(project["optional-dependencies"].values(), project["dependencies"])
    declared = {re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0].lower() for line in wanted}
    known = set(sys.stdlib_module_names) | {"kasauti"}
    used = {found.target.split(".")[0] for found in imports} - known
    assert {name for name in used if DISTRIBUTIONS.get(name, name) not in declared} == set()


def test_every_declared_package_has_a_tested_version():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0].lower() for line in wanted}
    assert names - pinned == set()


@pytest.mark.parametrize("statement", ["import kasauti", "import kasauti.cli.main"])
def test_starting_imports_nothing_heavy(statement):
    code = f"{statement}; import sys; print(*{{'torch', 'transformers', 'pandas', 'sklearn'}} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=SOURCE.parent, capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.split() == []


@pytest.fixture
def house(tmp_path):
    """Builds a package from {module path: source} and reads its imports."""

    def build(files: Mapping[str, str]) -> list[Import]:
        for name, text in files.items():
            path = tmp_path / "kasauti" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return imports_of(modules_of(tmp_path / "kasauti"))

    return build


@pytest.mark.parametrize(
    ("importer", "text"),
    [
        ("core/files.py", "from kasauti.data import read"),
        ("data/read.py", "def late():\n    import kasauti.chat.render"),
        ("measure/metrics.py", "from ..model.load import load"),
        ("data/audit.py", "PLACES = {'page': 'kasauti.pages.audit'}"),
        ("approaches/tuned.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import kasauti.decide.trial"),
    ],
)
def test_the_rule_sees_a_wrong_import_however_it_is_written(house, importer, text):
    files = dict.fromkeys(("chat/render.py", "model/load.py", "pages/audit.py", "decide/trial.py", "data/read.py"), "")
    assert len(wrong_ways(house({**files, importer: text}))) == 1


def test_the_rule_lets_a_room_know_itself_and_those_above(house):
    own, above = "from . import read", "from kasauti.core import types"
    assert wrong_ways(house({"core/types.py": "", "data/read.py": above, "data/split.py": own})) == []


def test_a_cycle_through_a_function_is_seen(house):
    files = {"data/a.py": "from kasauti.data import b", "data/b.py": "def late():\n    from kasauti.data.a import x"}
    assert cycle_in(house(files)) == ["kasauti.data.a", "kasauti.data.b", "kasauti.data.a"]


def test_torch_inside_a_function_or_for_types_is_not_eager(house):
    lazy = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\ndef late():\n    import torch"
    files = {"data/a.py": lazy, "model/b.py": "import torch", "core/c.py": "from torch import nn"}
    assert eager_torch(house(files)) == ["kasauti.core.c, line 1: torch"]
