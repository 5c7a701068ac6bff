"""Answers that rest on the user's documents: what the model is shown, what is cited, and that a change is seen."""

import dataclasses
import json
from pathlib import Path

import pytest
from tests.conftest import write_rows

from kasauti.approaches.catalogue import default_names, names_for
from kasauti.approaches.grounded import Grounded, cited
from kasauti.approaches.workbench import Workbench
from kasauti.cli.main import main
from kasauti.core.errors import TaskError
from kasauti.core.files import read_json
from kasauti.core.task import load_task, parse_task
from kasauti.core.types import Ended, Prediction
from kasauti.data.knowledge.chunks import Chunk
from kasauti.data.split import load_split
from kasauti.decide.fitted import fitted_key

REFUNDS = (
    "# Refunds\n\nA refund is paid within five working days.\n\n## To a wallet\n\nMoney is back in a wallet at once.\n"
)
CARDS = "# Cards\n\nA blocked card is opened by the bank, never by the shop.\n"
QUESTIONS = {
    "how long does a refund take": "five working days",
    "who opens a blocked card": "the bank",
    "when is money back in a wallet": "at once",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "refunds.md").write_text(REFUNDS, encoding="utf-8")
    (tmp_path / "docs" / "cards.md").write_text(CARDS, encoding="utf-8")
    asked = list(QUESTIONS.items())
    for name, rows in (("train", 24), ("test", 6)):
        made = [(f"{asked[n % 3][0]} {name} {n}?", asked[n % 3][1]) for n in range(rows)]
        write_rows(tmp_path / f"{name}.csv", made, ("question", "reply"))
    (tmp_path / "task.yaml").write_text(
        "name: help\nkind: generation\ninstructions: Answer in a few words.\n"
        'input: "{question}"\ntarget: reply\ndata: {train: train.csv, test: test.csv}\n'
        "model: kasauti/nano\nknowledge: {path: docs, top: 2}\n",
        encoding="utf-8",
    )
    return tmp_path


def made(folder: Path) -> Grounded:
    task = load_task(folder)
    split, _ = load_split(task)
    return Grounded(Workbench(task)).fit(split.train, split.validation_choose, split.validation_calibrate)


def test_the_prompt_has_the_best_chunks_by_name_before_the_question(folder):
    approach = made(folder)
    [row] = [one for one in load_split(load_task(folder))[0].test if "wallet" in one.text][:1]
    approach.predict([row])
    system, user = approach.conversation(row)
    assert system.content.startswith("Answer in a few words.")
    assert "[1] refunds.md › Refunds › To a wallet\nMoney is back in a wallet at once." in user.content
    assert user.content.endswith(row.text)
    assert approach.about()["documents"] == 2
    assert approach.about()["chunks"] == 3


def test_what_does_not_fit_the_window_is_left_out_and_the_question_is_not(folder):
    approach = made(folder)
    row = load_split(load_task(folder))[0].test[0]
    whole = approach._with(row, [])
    from kasauti.chat.render import Renderer

    renderer = Renderer(approach.bench.frozen, approach.bench.tokenizer)
    room = len(renderer.render_prompt(whole))
    approach.window = lambda: room + approach.most + 40  # type: ignore[method-assign]
    approach.predict([row])
    kept = approach._found[row.id]
    assert len(kept) < 2
    assert approach.conversation(row)[-1].content.endswith(row.text)


def test_a_trial_judges_it_and_every_answer_of_predict_names_its_sources(folder, capfd):
    assert main(["trial", "--task", str(folder), "--approaches", "grounded", "--json"]) == 0
    capfd.readouterr()
    assert main(["predict", str(folder / "test.csv"), "--task", str(folder), "--json"]) == 0
    answers = json.loads(capfd.readouterr().out)["answers"]
    names = {"refunds.md › Refunds", "refunds.md › Refunds › To a wallet", "cards.md › Cards"}
    answered = [one for one in answers if one["answer"]]
    assert answered
    assert all(one["sources"] and set(one["sources"]) <= names for one in answered)
    kept = next(folder.glob(".kasauti/approaches/grounded-*/test-*.json"))
    assert any(row["sources"] for row in read_json(kept)["rows"])


def test_a_change_of_a_document_is_seen_by_the_next_answer_and_by_the_next_trial(folder):
    approach, task = made(folder), load_task(folder)
    split, _ = load_split(task)
    row = next(one for one in split.test if "blocked" in one.text)
    approach.predict([row])
    before, first = fitted_key(approach.bench, split, "grounded"), approach.updated
    approach.predict([row])
    assert approach.updated is first, "nothing changed, nothing was read"
    (folder / "docs" / "cards.md").write_text(CARDS.replace("the bank", "the issuing bank's app"), encoding="utf-8")
    approach.predict([row])
    assert approach.updated is not None
    assert (approach.updated.read, approach.updated.added, approach.updated.removed) == (1, 1, 1)
    assert "the issuing bank's app" in approach.conversation(row)[-1].content
    assert fitted_key(approach.bench, split, "grounded") != before


def test_it_is_tried_only_where_there_are_documents_and_says_what_is_missing(folder):
    task = load_task(folder)
    assert "grounded" in default_names(task)
    without = dataclasses.replace(task, knowledge=None)
    assert default_names(without) == names_for("generation")
    split, _ = load_split(task)
    with pytest.raises(TaskError, match=r"needs documents.*knowledge: docs"):
        Grounded(Workbench(without)).fit(split.train, (), ())


CHUNKS = [
    Chunk("1", "refunds.md", "Refunds", "A refund is paid within five working days."),
    Chunk("2", "cards.md", "Cards", "A blocked card is opened by the bank."),
]


@pytest.mark.parametrize(
    ("said", "answer", "sources"),
    [
        ("five working days [1]", "five working days", ("refunds.md › Refunds",)),
        ("The bank [2].", "The bank.", ("cards.md › Cards",)),
        ("both [1, 2]", "both", ("refunds.md › Refunds", "cards.md › Cards")),
        ("the bank", "the bank", ("cards.md › Cards",)),  # it numbers none: the chunk with its words
        ("zebra", "zebra", ("refunds.md › Refunds", "cards.md › Cards")),  # nobody knows: all that were shown
        ("see [7] of five working days", "see [7] of five working days", ("refunds.md › Refunds",)),
        ("list [1] and [9]", "list and [9]", ("refunds.md › Refunds",)),
    ],
)
def test_sources_are_those_that_the_answer_numbers_or_the_one_that_has_its_words(said, answer, sources):
    got = cited(Prediction(answer=said, raw=said), CHUNKS)
    assert (got.answer, got.sources, got.raw) == (answer, sources, said)


def test_what_is_no_answer_has_no_sources():
    nothing = Prediction(answer=None, ended=Ended.UNPARSABLE)
    assert cited(nothing, CHUNKS) == nothing
    assert cited(Prediction(answer="x [1]"), []).sources == ()


def settings_of(text: str):
    body = f"kind: generation\ninput: '{{q}}'\ntarget: a\ndata: {{train: t.csv}}\n{text}\n"
    return parse_task(body, folder="/nowhere").knowledge


def test_the_task_file_names_documents_in_one_word_or_with_settings():
    assert settings_of("") is None
    assert settings_of("knowledge: docs").path == "docs"
    assert (settings_of("knowledge: {path: d, tokens: 40}").overlap, settings_of("knowledge: {path: d}").top) == (10, 4)
    for wrong, told in {
        "knowledge: {top: 4}": "`knowledge.path` is missing",
        "knowledge: {path: d, topp: 4}": "top",
        "knowledge: {path: d, tokens: 3}": "`knowledge.tokens` is '3'",
        "knowledge: {path: d, tokens: 40, overlap: 30}": "at most 20",
    }.items():
        with pytest.raises(TaskError, match=told):
            settings_of(wrong)
