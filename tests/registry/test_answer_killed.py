"""Files of answers are whole and in order however often the process that writes them is killed."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests import killing
from tests.conftest import complaints, write_rows

ROWS = 3000
FEW = 64


def answer_many(folder: str) -> None:
    """What `kasauti predict many.csv -o out.jsonl` does, with what the trial ships."""
    from kasauti.core.task import load_task
    from kasauti.registry.answer import answer_file, answerer, check_file

    task = load_task(folder)
    source = f"{folder}/many.csv"
    rows = check_file(task, source, skip_bad=True).rows
    answer_file(answerer(task), source, f"{folder}/out.jsonl", rows, skip_bad=True)


def answer_few_with_the_bundled_model(folder: str) -> None:
    """The same with kasauti/nano, in chunks of 8 rows."""
    from kasauti.approaches.catalogue import make
    from kasauti.approaches.workbench import Workbench
    from kasauti.core.task import load_task
    from kasauti.registry import answer

    answer.CHUNK = 8
    task = load_task(folder)
    one = answer.Answerer(name="nano", task=task, approach=make("prompt_none", Workbench(task)), threshold=0.5, key="k")
    answer.answer_file(one, f"{folder}/few.csv", f"{folder}/out.jsonl", FEW)


def kill_and_go_on(work, folder: Path, kills: int, size: int, seed: int) -> tuple[bytes, list[int]]:
    """The finished file, and the bytes that were there at each kill; `size` is about what the finished file has."""
    part, out, draw = folder / "out.jsonl.part", folder / "out.jsonl", random.Random(seed)
    left = []
    for target in sorted(draw.sample(range(size * 9 // 10), kills)):
        code, _, _ = killing.run(work, folder, grown=(part, target))
        if code == 0:  # it was finished before it could be killed
            break
        assert code == -9
        assert not out.exists()
        left.append(part.stat().st_size)
    else:
        assert killing.run(work, folder)[0] == 0
    assert sorted(path.name for path in folder.glob("out*")) == ["out.jsonl"]
    return out.read_bytes(), left


def test_killed_five_times_no_row_is_missing_or_there_twice(finished_copy):
    folder = finished_copy
    rows = [f"{text},more" if at % 997 == 5 else text for at, (text, _) in enumerate(complaints(ROWS, 9))]
    (folder / "many.csv").write_text("text\n" + "\n".join(rows) + "\n", encoding="utf-8")
    answer_many(str(folder))
    whole = (folder / "out.jsonl").read_bytes()
    (folder / "out.jsonl").unlink()
    made, left = kill_and_go_on(answer_many, folder, 5, len(whole), seed=3)
    assert len(left) >= 3
    assert made == whole
    lines = [json.loads(line) for line in made.splitlines()]
    assert [line["row"] for line in lines] == list(range(1, ROWS + 1))
    assert [line["row"] for line in lines if "error" in line] == list(range(6, ROWS + 1, 997))


def test_killed_while_the_bundled_model_answers(tmp_path):
    folder = tmp_path / "task"
    folder.mkdir()
    rows = complaints(FEW, 9)
    write_rows(folder / "few.csv", rows)
    (folder / "task.yaml").write_text(
        "kind: classification\ninput: '{text}'\ntarget: label\nlabels: [refund, card, parcel]\n"
        "data: {train: few.csv}\nmodel: kasauti/nano\n",
        encoding="utf-8",
    )
    made, left = kill_and_go_on(answer_few_with_the_bundled_model, folder, 3, FEW * 60, seed=1)
    assert left
    lines = [json.loads(line) for line in made.splitlines()]
    assert [line["row"] for line in lines] == list(range(1, FEW + 1))
    assert {line["answer"] for line in lines} <= {"refund", "card", "parcel"}
