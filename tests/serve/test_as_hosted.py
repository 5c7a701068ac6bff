"""Kasauti's own service as the hosted model of another task: what one serves the other can judge."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import complaints, task_text, write_rows

from kasauti.approaches.hosted.approach import Hosted
from kasauti.approaches.workbench import Workbench
from kasauti.core.task import load_task
from kasauti.data.split import load_split


def test_a_service_answers_as_a_hosted_model(server, tmp_path: Path):
    write_rows(tmp_path / "train.csv", complaints(60, 1))
    write_rows(tmp_path / "test.csv", complaints(12, 2))
    hosted = f"hosted: {{base_url: '{server.address}/v1', model: complaints, key_env: null}}\n"
    (tmp_path / "task.yaml").write_text(task_text("kasauti/nano") + hosted, encoding="utf-8")
    task = load_task(tmp_path)
    split, _ = load_split(task)
    approach = Hosted(Workbench(task)).fit((), (), split.validation_calibrate)
    told = [server.ask("/classify", dict(row.fields)).json["category"] for row in split.test]
    assert [p.answer for p in approach.predict(split.test)] == told
    assert approach.about()["confidence"] == "log-probabilities of the server"
    assert approach.about()["validation_accuracy"] == pytest.approx(1.0, abs=0.2)
