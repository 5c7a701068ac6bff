"""The user's own metric: `module:function` → a checked callable.

Walks in: the task, which names the function and the folder that it is looked for in first. Walks out: a score from 0
to 1 for an answer, or one line that says what is wrong with the function. It is the user's own code and runs in this
process.

The function is called as `function(answer, expected)`, or as `function(answer, expected, fields)` where it takes a
third: the columns of the row, by name. It returns True or False, or a number from 0 to 1.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from kasauti.core.errors import TaskError
from kasauti.core.names import suggestion
from kasauti.core.types import Example, Task

Own = Callable[[str, Example], float]
"""An answer and its row → a score from 0 to 1."""
_WHERE = "task.yaml: metric"


def load_own(task: Task) -> Own:
    """The function that the task names, checked at every call.

    Raises:
        TaskError: no such module or function, or it does not take an answer and what was expected.
    """
    name = task.scoring.metric or ""
    module_name, _, function_name = name.partition(":")
    module = _module(module_name, Path(task.folder))
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise TaskError(f"{module_name} has no function {function_name!r}", where=_WHERE,
                        mend=suggestion(function_name, known))  # fmt: skip
    with_fields = _takes_fields(function, name)

    def score(answer: str, example: Example) -> float:
        expected: Any = example.answer or ""
        given = (answer, expected, {**example.fields, **example.judging}) if with_fields else (answer, expected)
        where = f"{_WHERE} {name}, row {example.row} of {example.source}"
        try:
            value = function(*given)
        except Exception as error:
            mend = "Mend the function; it has to take any answer."
            raise TaskError(f"it raised {type(error).__name__}: {error}", where=where, mend=mend) from error
        return _checked(value, where)

    return score


def own_scores(own: Own, answers: Sequence[str | None], examples: Sequence[Example]) -> list[float]:
    """The score of every row; 0 for those without an answer, which the function does not see."""
    return [0.0 if a is None else own(a, example) for a, example in zip(answers, examples, strict=True)]


def _module(name: str, folder: Path) -> ModuleType:
    """The module, of the task's folder if it is there."""
    place = folder.joinpath(*name.split("."))
    file = next((f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()), None)
    sys.path.insert(0, str(folder))  # what it imports itself may lie beside it
    try:
        if file is None:
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(f"kasauti_task_metric.{name}", file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} cannot be read as a module")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except ModuleNotFoundError as error:
        mend = f"Put {name.replace('.', '/')}.py into the task's folder, or install what it imports."
        raise TaskError(f"there is no module {error.name!r}", where=_WHERE, mend=mend) from error
    except (Exception, SystemExit) as error:
        said = f"{name} could not be imported: {type(error).__name__}: {error}"
        raise TaskError(said, where=_WHERE, mend="Mend the module.") from error
    finally:
        sys.path.remove(str(folder))


def _takes_fields(function: Callable[..., Any], name: str) -> bool:
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # written in C: it can be called, but not looked at
        return False
    for given in (3, 2):
        try:
            signature.bind(*[""] * given)
        except TypeError:
            continue
        return given == 3
    mend = "Write it as def function(answer, expected), or with a third parameter for the row's columns."
    raise TaskError(f"{name} takes {signature}", where=_WHERE, mend=mend)


def _checked(value: Any, where: str) -> float:
    number = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    if not isinstance(number, bool | int | float) or not 0 <= number <= 1 or math.isnan(number):
        mend = "Return True or False, or a number from 0 to 1."
        raise TaskError(f"it returned {value!r}", where=where, mend=mend)
    return float(number)
