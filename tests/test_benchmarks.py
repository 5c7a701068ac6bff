"""Benchmarks measure what they say, and their figures are kept with the machine they were measured on."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _beside(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in ("bench_ok", "bench_broken", "duplicates", "run", *[n for n in sys.modules if n.startswith("answer")]):
        sys.modules.pop(name, None)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """benchmarks/run.py with a place of its own for results and modules."""
    found = _load("run")
    monkeypatch.setattr(found, "RESULTS", tmp_path / "results")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "bench_ok.py").write_text("def run():\n    return {'seconds': 1.5}\n")
    (tmp_path / "bench_broken.py").write_text("def run():\n    raise RuntimeError('no')\n")
    monkeypatch.setattr(found, "BENCHMARKS", {"bench_broken": "nothing", "bench_ok": "a constant"})
    return found


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_benchmark_of_the_table_is_a_module_with_a_docstring_and_a_run():
    for name in _load("run").BENCHMARKS:
        module = _load(name)
        assert callable(module.run)
        assert module.__doc__


def test_figures_are_kept_with_the_machine(bench, tmp_path, capsys):
    assert bench.main(["bench_ok"]) == 0
    kept = json.loads((tmp_path / "results" / "bench_ok.json").read_text("utf-8"))
    assert kept["figures"] == {"seconds": 1.5}
    assert kept["machine"]["cores"] >= 1
    assert kept["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "bench_ok" in capsys.readouterr().out


def test_a_benchmark_that_fails_does_not_stop_the_others(bench, tmp_path, capsys):
    assert bench.main([]) == 1
    assert (tmp_path / "results" / "bench_ok.json").exists()
    assert not (tmp_path / "results" / "bench_broken.json").exists()
    assert "RuntimeError: no" in capsys.readouterr().err


def test_an_unknown_benchmark_is_wrong_usage(bench):
    with pytest.raises(SystemExit) as stop:
        bench.main(["nothing_of_that_name"])
    assert stop.value.code == 2


def test_the_generated_texts_hold_near_duplicates_and_brute_force_finds_them():
    module = _load("duplicates")
    rows = module.texts(1000, seed=1)
    assert rows == module.texts(1000, seed=1)
    assert module.brute_force(rows, module.THRESHOLD) == module.exact(rows) != set()


SMALL = {
    "vocab_size": 1024, "hidden_size": 192, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "tie_word_embeddings": False,
}  # fmt: skip


def test_the_network_of_the_answers_is_right_however_it_is_asked():
    answers = importlib.import_module("answer.labels")
    names = ["usual_loop", "usual_loop_stopping", "batched_generate", "kasauti_posterior", "kasauti_best"]
    found = answers.compare(12, 30, names, SMALL, "fp32", 0.2)
    assert [one["engine"] for one in found] == names
    assert all(one["same_answers"] and one["right"] == one["texts"] for one in found)
    assert all(one["texts_per_second"] > 0 and one["share_of_limit"] > 0 for one in found)
    assert found[0]["ratio_to_usual_loop"] == 1


def test_the_answers_words_are_one_token_each():
    network = importlib.import_module("answer.network")
    ids = [0, 2, 3, 10, 12, 20, 21, 100, 2]
    assert network.tokenizer(128)(network.spelled(ids))["input_ids"] == ids


def test_an_engine_whose_library_is_not_there_is_left_out_and_said(monkeypatch, capsys):
    answers = importlib.import_module("answer.labels")

    def absent(model, asked):
        raise ImportError("No module named 'cappr'")

    monkeypatch.setitem(answers.ENGINES, "cappr", absent)
    assert answers.compare(12, 30, ["cappr"], SMALL, "fp32", 0.2) == []
    assert "cappr: left out: ImportError" in capsys.readouterr().err


def test_the_search_of_labels_agrees_with_the_full_posterior():
    found = importlib.import_module("answer.agree").run(120)
    assert (found["texts"], found["other_answer"], found["outside_bounds"]) == (120, 0, 0)
    assert found["opened"] < 1
