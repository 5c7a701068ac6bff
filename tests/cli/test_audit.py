"""`kasauti audit`."""

import json

import pytest

from kasauti.cli.taught import duplicate_pairs
from kasauti.core.types import Example


@pytest.fixture
def folder(make_task):
    """Enough rows that nothing stops the work."""
    return make_task(rows=240, test=30)


def read(folder):
    return json.loads((folder / ".kasauti/audit/audit.json").read_text())


def test_an_audit_leaves_its_findings_and_a_page(kasauti, folder):
    ran = kasauti("audit", "--task", folder, "--samples", 4)
    assert ran.code == 0, ran
    document = read(folder)
    rows = document["data"]["rows"]
    assert sum(rows.values()) == 270
    assert document["proof"]["rows"] == 270
    assert document["proof"]["supervised_tokens"] > 270
    order = [{"stop": 0, "warn": 1, "note": 2}[one["severity"]] for one in document["findings"]]
    assert order == sorted(order)
    page = (folder / ".kasauti/audit/audit.html").read_text()
    assert page.count('class="kas-tokens"') == 4
    assert "<|im_end|>" in page or "&lt;|im_end|&gt;" in page
    assert all(one["what"][:20] in " ".join(ran.out.split()) for one in document["findings"][:1])


def test_a_finding_that_stops_the_work_gives_exit_code_1(kasauti, folder):
    rows = (folder / "train.csv").read_text().replace(",card\n", ",crad\n", 3)
    (folder / "train.csv").write_text(rows)
    ran = kasauti("audit", "--task", folder, "--json", "--samples", 0)
    assert ran.code == 1
    first = ran.document["findings"][0]
    assert (first["severity"], first["check"]) == ("stop", "labels")
    assert "'crad' (3 rows): 'card' is meant?" in first["evidence"]
    assert ran.document["proof"]["rows"] == 267


def test_the_data_are_audited_also_where_the_model_cannot_be_used(kasauti, make_task):
    folder = make_task(rows=240, model="./nowhere")
    ran = kasauti("audit", "--task", folder)
    assert ran.code == 1
    findings = {one["check"]: one for one in read(folder)["findings"]}
    assert findings["model"]["severity"] == "stop"
    assert "no model folder './nowhere'" in findings["model"]["what"]
    assert "few_rows" in findings
    assert read(folder)["proof"] is None


def test_a_model_without_a_template_stops_the_work_and_says_how_to_name_one(kasauti, make_task, tiny_model, tmp_path):
    import shutil

    model = shutil.copytree(tiny_model, tmp_path / "base")
    (model / "chat_template.jinja").unlink()
    folder = make_task(rows=240, model=str(model))
    assert kasauti("audit", "--task", folder).code == 1
    finding = next(one for one in read(folder)["findings"] if one["check"] == "model")
    assert "no chat template" in finding["what"]
    assert "chat_template: chatml" in finding["mend"]
    (folder / "task.yaml").open("a").write("chat_template: chatml\n")
    assert kasauti("audit", "--task", folder).code == 0


def test_long_rows_are_counted_and_their_answers_kept(kasauti, make_task):
    folder = make_task(rows=240)
    text = (folder / "task.yaml").read_text().replace("epochs: 1", "epochs: 1, length: 72")
    (folder / "task.yaml").write_text(text)
    assert kasauti("audit", "--task", folder).code == 0
    long = [one for one in read(folder)["findings"] if one["check"] == "lengths"]
    assert sum(one["count"] for one in long) == read(folder)["proof"]["shortened_rows"] > 0
    assert read(folder)["proof"]["longest"] <= 72


def test_the_same_audit_shows_the_same_rows(kasauti, folder):
    def tokens():
        kasauti("audit", "--task", folder, "--samples", 3)
        page = (folder / ".kasauti/audit/audit.html").read_text()
        return [line for line in page.splitlines() if "kas-tokens" in line]

    assert tokens() == tokens()


def test_a_number_of_samples_under_zero_is_refused(kasauti, folder):
    assert kasauti("audit", "--task", folder, "--samples", -1).code == 2
    assert not (folder / ".kasauti").exists()


def test_pairs_with_different_answers_come_first_then_pairs_in_two_parts():
    def row(number, text, answer):
        return Example(id=str(number), fields={"t": text}, template="{t}", answer=answer, row=number)

    train = [row(1, "my money is not back", "a"), row(2, "My money is not back!", "a"), row(3, "the card is lost", "a")]
    test = [row(1, "the card is LOST", "b"), row(2, "a text of its own", "a")]
    pairs = duplicate_pairs({"train": train, "test": test})
    assert [(p["a"]["row"], p["b"]["row"], p["b"]["part"]) for p in pairs] == [(3, 1, "test"), (1, 2, "train")]
    assert all(p["similarity"] == 1.0 for p in pairs)
