"""Each known failure, made on purpose, is named first with its cause; a healthy folder gets no finding."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import complaints
from tests.train.test_watch import examples, run
from tests.watch.conftest import NOW, call

from kasauti.approaches.workbench import Workbench
from kasauti.chat.supervise import IGNORED, supervise_rows
from kasauti.core.errors import DataError, UsageError
from kasauti.core.files import RunFolder
from kasauti.core.task import load_task
from kasauti.core.types import Severity
from kasauti.data.conversation import messages
from kasauti.data.split import load_split
from kasauti.watch.doctor import Asked, diagnose


@pytest.fixture
def healthy(finished_task: Any, tmp_path: Path) -> Any:
    """The task of a copied folder whose trial is finished."""
    return load_task(shutil.copytree(finished_task[0], tmp_path / "healthy"))


def rows_of(task: Any) -> list[Any]:
    """The training rows as Kasauti supervises them."""
    bench = Workbench(task)
    given = [(row.row, messages(task, row, with_answer=False), row.answer) for row in load_split(task)[0].train]
    return list(supervise_rows(bench.frozen, bench.tokenizer, given))


def without_end(rows: list[Any]) -> list[tuple[list[int], list[int]]]:
    """The same with prompts supervised and the end of the turn not."""
    made = []
    for row in rows:
        last = max(at for at, label in enumerate(row.labels) if label != IGNORED)
        made.append((list(row.ids), [one if at < last else IGNORED for at, one in enumerate(row.ids)]))
    return made


def taught_wrongly(task: Any, rows: list[tuple[list[int], list[int]]]) -> list[str]:
    """What a network writes that was trained on such rows, for the test rows."""
    import torch

    from kasauti.model.generate import generate
    from kasauti.model.load import load

    bench, generator = Workbench(task), random.Random(0)
    model = load(task.model, task.folder).model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(60):
        batch = generator.sample(rows, 16)
        longest = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
        labels = torch.tensor([labels + [IGNORED] * (longest - len(labels)) for _, labels in batch])
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    from kasauti.chat.render import Renderer

    renderer = Renderer(bench.frozen, bench.tokenizer)
    asked = [messages(task, row, with_answer=False) for row in load_split(task)[0].test]
    texts = generate(model.eval(), renderer.render_prompts(asked), end_ids=renderer.stop_ids, max_new_tokens=12)
    return [renderer.parse_answer(text.ids, answers=list(task.labels)) for text in texts]


def test_a_healthy_folder_gets_no_finding(healthy):
    found = diagnose(healthy, Asked(), None, NOW)
    assert found.findings == []
    assert len(found.looked) == 3
    assert [one.split(":")[0] for one in found.not_looked] == ["calls"]


def test_a_model_that_goes_on_is_named_first_with_its_cause(healthy, tmp_path):
    rows = without_end(rows_of(healthy))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"input_ids": a, "labels": b}) + "\n" for a, b in rows))
    texts = taught_wrongly(healthy, rows)
    truth = [row.answer for row in load_split(healthy)[0].test]
    lines = [json.dumps({"generated": a, "truth": b}) for a, b in zip(texts, truth, strict=True)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    asked = Asked(rows=str(tmp_path / "rows.jsonl"), generated=str(tmp_path / "texts.jsonl"))
    first, second = diagnose(healthy, asked, None, NOW).findings
    assert first.check == "continues"
    assert first.severity is Severity.STOP
    assert "the end of the turn is not supervised" in first.what
    assert "tokens of the prompt are supervised" in first.what
    assert "kasauti train" in first.mend
    assert second.check == "supervision"
    assert second.count == len(rows)


def test_what_a_trial_left_is_read_too(healthy):
    import pyarrow.parquet as pq

    path = next(Path(healthy.folder).glob(".kasauti/trials/*/predictions.parquet"))
    table = pq.read_table(path).to_pylist()
    for row in table:
        if row["approach"] == "tuned":
            row["generated"] = f"{row['truth']}\nThe customer wants"
    import pyarrow as pa

    pq.write_table(pa.Table.from_pylist(table), path)
    (found,) = diagnose(healthy, Asked(), None, NOW).findings
    assert found.check == "continues"
    assert "30 of 30 texts" in found.what
    assert "30 with the right label" in found.what
    assert "rows are proved" in found.what  # this run's supervision is right: it has learnt too little
    assert "epochs" in found.mend


def test_a_run_that_learnt_its_rows_by_heart_is_named_first(healthy, tmp_path):
    rows, out = examples(48, shuffled=True), tmp_path / "out"
    out.mkdir()
    trained = run(out, rows=rows, shuffled=True, epochs=40, learning_rate=2e-2, patience=6, dropout=0.0)
    (found,) = diagnose(healthy, Asked(run=out / "checkpoints"), None, NOW).findings  # the trainer's own log
    assert found.check == "overfitting"
    assert "validation loss turned up after epoch" in found.what
    assert "kasauti train" in found.mend
    assert f"epochs: {min(trained.curve, key=lambda one: one['validation_loss'])['epoch']:g}" in found.mend
    findings = [{**dataclasses.asdict(one), "severity": one.severity.value} for one in trained.findings]
    mine = RunFolder(healthy.folder, "runs", "newest", mark="run.json").make()
    mine.finish({"curve": trained.curve, "findings": findings, "recipe": {}})
    first = diagnose(healthy, Asked(), None, NOW).findings[0]  # and a run of the task
    assert (first.check, first.what) == ("overfitting", found.what)


def test_the_log_of_another_trainer_is_read(healthy, tmp_path):
    from transformers import TrainerState

    history = []
    for epoch, (train, held) in enumerate([(1.2, 0.9), (0.5, 0.6), (0.1, 0.8), (0.01, 1.3)], 1):
        history += [{"loss": train, "epoch": epoch, "step": epoch * 10}]
        history += [{"eval_loss": held, "epoch": epoch, "step": epoch * 10}]
    (tmp_path / "out" / "checkpoint-40").mkdir(parents=True)
    TrainerState(log_history=history).save_to_json(str(tmp_path / "out" / "checkpoint-40" / "trainer_state.json"))
    (found,) = diagnose(healthy, Asked(run=tmp_path / "out"), None, NOW).findings
    assert found.check == "overfitting"
    assert "epochs: 2" in found.mend
    with pytest.raises(DataError, match=r"neither run\.json nor trainer_state\.json"):
        diagnose(healthy, Asked(run=tmp_path), None, NOW)


def test_a_response_template_that_is_cut_otherwise_is_explained(healthy):
    first = diagnose(healthy, Asked(template="ssistant\n"), None, NOW).findings[0]
    assert first.check == "response template"
    assert first.severity is Severity.STOP
    assert "cut into other tokens" in first.what
    assert "alone it is" in first.evidence[0]
    assert "in the row it is" in first.evidence[1]


def test_a_response_template_that_the_chat_template_does_not_write_is_explained(healthy):
    first = diagnose(healthy, Asked(template="### Response:"), None, NOW).findings[0]
    assert "the chat template does not write it" in first.what
    assert "<|im_start|>assistant" in first.mend


def test_a_response_template_that_is_found_is_no_finding(healthy):
    assert diagnose(healthy, Asked(template="<|im_start|>assistant\n"), None, NOW).findings == []


def test_rows_that_teach_nothing_are_told(healthy, tmp_path):
    rows = rows_of(healthy)
    lines = [json.dumps({"input_ids": list(row.ids), "labels": [IGNORED] * len(row.ids)}) for row in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    (found,) = diagnose(healthy, Asked(rows=str(tmp_path / "rows.jsonl")), None, NOW).findings
    assert found.check == "supervision"
    assert "no token is supervised at all" in found.what


def test_right_rows_of_another_trainer_are_no_finding(healthy, tmp_path):
    lines = [
        json.dumps({"input_ids": list(r.ids), "completion_mask": [int(one != IGNORED) for one in r.labels]})
        for r in rows_of(healthy)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    assert diagnose(healthy, Asked(rows=str(tmp_path / "rows.jsonl")), None, NOW).findings == []


def test_production_unlike_the_test_is_named_first_with_the_inputs(healthy, log):
    words = ["mera", "paisa", "wapas", "nahi", "aaya", "kab", "milega", "bhai", "kya", "hua", "ho", "gaya"]
    draw = random.Random(0)
    english = [text for text, _ in complaints(60, 9)]
    hindi = [" ".join(draw.choices(words, k=8)) for _ in range(60)]
    log.append([call(n, NOW - timedelta(hours=n), text=text) for n, text in enumerate(english + hindi)])
    first = diagnose(healthy, Asked(), log, NOW).findings[0]
    assert first.check == "production"
    assert any("paisa" in line or "nahi" in line for line in first.evidence)
    assert any(line.startswith("call c") for line in first.evidence)
    assert "kasauti trial" in first.mend


def test_production_like_the_test_is_no_finding(healthy, log):
    texts = [text for text, _ in complaints(100, 9)]
    log.append([call(n, NOW - timedelta(hours=n), text=text) for n, text in enumerate(texts)])
    assert diagnose(healthy, Asked(), log, NOW).findings == []


def test_what_is_not_there_is_an_error(healthy, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"input_ids": [1, 2], "labels": [1]}\n')
    with pytest.raises(DataError, match="line 1 is no row"):
        diagnose(healthy, Asked(rows=str(tmp_path / "bad.jsonl")), None, NOW)
    with pytest.raises(DataError, match="no such file"):
        diagnose(healthy, Asked(generated=str(tmp_path / "none.jsonl")), None, NOW)
    with pytest.raises(UsageError, match="there is no version 7"):
        diagnose(healthy, Asked(version=7), None, NOW)
