"""Bad input: one line, exit code 2, nothing written."""

import contextlib
import os
import resource
import signal
from pathlib import Path

import pytest

TEXTS = {
    "good": "text,label\n" + "".join(f"words {n} here,{'ab'[n % 2]}\n" for n in range(20)),
    "empty": "",
    "header": "text,label\n",
    "one_label": "text,label\n" + "".join(f"words {n} here,a\n" for n in range(20)),
    "twice": "text,label,text\n" + "x,a,y\n" * 20,
    "two_rows": "text,label\nx,a\ny,b\n",
    "ragged": "text,label\nx,a\ny,b,c\n",
    "quote": 'text,label\nx,a\n"y,b\n',
    "free": "text,label\n" + "".join(f"q {n},an answer of its own {n}\n" for n in range(20)),
}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """`file("good")` writes one of `TEXTS` and gives its name; the current folder is the one it is in."""
    monkeypatch.chdir(tmp_path)

    def write(name, suffix=".csv", content=None):
        Path(f"{name}{suffix}").write_bytes(TEXTS[name].encode() if content is None else content)
        return f"{name}{suffix}"

    return write


def refused(ran, told):
    assert ran.code == 2, ran
    assert ran.out == ""
    assert told in ran.error_line


INIT = {
    "empty": "empty.csv: is empty",
    "header": "header.csv: has no rows of data",
    "one_label": "every row has the label 'a'",
    "twice": "two columns are named 'text'",
    "two_rows": "2 rows with an answer, at least 10 are needed",
    "ragged": "ragged.csv:3: the row has 3 values, the header has 2",
    "quote": "a quote is opened and never closed",
    "free": "column 'label' has 20 different answers in 20 rows. Name another column, or give --kind generation",
}


@pytest.mark.parametrize("name", INIT)
def test_a_file_that_makes_no_task_is_refused(kasauti, file, tree, name):
    data = file(name)
    before = tree(Path.cwd())
    refused(kasauti("init", "new", "--data", data, "--input", "text", "--target", "label"), INIT[name])
    assert tree(Path.cwd()) == before
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data", "godo.csv"], "no such file. Did you mean 'good.csv'?"),
        (["--input", "txt"], "no column 'txt'. Did you mean 'text'?"),
        (["--target", "labels"], "no column 'labels'. Did you mean 'label'?"),
        (["--target", "text"], "the same column 'text'"),
        (["--test", "no.csv"], "no.csv: no such file"),
        (["--kind", "clasification"], "Did you mean 'classification'?"),
        (["--model", "./nowhere"], "no model folder './nowhere'"),
        (["--model", "bare"], "has no config.json"),
        (["--chat-template", "chatlm"], "did you mean 'chatml'?"),
        (["--data", "."], "is a folder and no saved data set"),
        (["--data", "*.tsv"], "*.tsv: no file matches"),
        (["--data", "hf://nobody/nothing"], "hf://nobody/nothing: cannot be loaded from the Hub"),
        (["--shape", "sharegtp"], "Did you mean 'sharegpt'?"),
        (["--shape", "messages"], "good.csv:2: the row has no conversation"),
    ],
)
def test_a_wrong_word_names_the_nearest_right_one(kasauti, file, words, told):
    file("good")
    Path("bare").mkdir()
    # of an option that is given twice the second one counts
    right = ["--data", "good.csv", "--input", "text", "--target", "label"]
    refused(kasauti("init", "new", *right, *words), told)
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("text,label\nक्यों,a\n".encode() + b"caf\xe9,a\n" * 12, "latin.csv:3: is not UTF-8"),
        (b"text,label\ncaf\xe9\x8d,a\n", "latin.csv:2: byte 0x8d near"),
        (b"text,label\nx\0y,a\n", "there is a NUL byte"),
    ],
)
def test_broken_text_is_refused_with_its_line(kasauti, file, content, told):
    data = file("latin", content=content)
    refused(kasauti("init", "new", "--data", data, "--input", "text", "--target", "label"), told)


def test_a_label_of_the_test_rows_that_no_training_row_has_is_refused(kasauti, file):
    data, test = file("good"), file("one_label", content=TEXTS["one_label"].replace(",a\n", ",A\n").encode())
    ran = kasauti("init", "new", "--data", data, "--input", "text", "--target", "label", "--test", test)
    refused(ran, "the label 'A' is in no row of good.csv. Did you mean 'a'?")


def edit(old, new):
    """A change of the task file."""
    return lambda folder: (folder / "task.yaml").write_text((folder / "task.yaml").read_text().replace(old, new))


def edit_data(old, new):
    """A change of the training rows, everywhere."""
    return lambda folder: (folder / "train.csv").write_text((folder / "train.csv").read_text().replace(old, new))


TASKS = {
    "no task": (lambda f: (f / "task.yaml").unlink(), "task.yaml: no such file. Write one with `kasauti init`"),
    "no YAML": (edit("kind:", "kind: ["), "is not valid YAML"),
    "unknown key": (edit("target:", "taget:"), "unknown key `taget`. Did you mean 'target'?"),
    "unknown field of the recipe": (edit("epochs: 1", "epoch: 1"), "unknown key `train.epoch`. Did you mean 'epochs'?"),
    "wrong value in the recipe": (edit("epochs: 1", "epochs: -1"), "epochs is -1"),
    "label not listed": (edit_data(",card", ",crad"), "'crad' is not one of the task's. Did you mean 'card'?"),
    "label without rows": (edit("labels:", "labels:\n  cash:"), "no row has the label 'cash'"),
    "wrong column": (edit("{text}", "{txt}"), "there is no column 'txt'. Did you mean 'text'?"),
    "the answer in the input": (edit("{text}", "{label}"), "`input` shows the answer"),
    "no data": (lambda folder: (folder / "train.csv").unlink(), "train.csv: no such file"),
    "negative price": (lambda f: (f / "task.yaml").open("a").write("business: {gpu_per_hour: -1}\n"), "gpu_per_hour"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["trial", "audit", "train"])
@pytest.mark.parametrize("fault", TASKS)
def test_a_task_at_fault_is_refused_by_every_command(kasauti, make_task, tree, fault, command):
    if command == "audit" and fault.startswith("label "):
        pytest.skip("an audit shows such rows instead")
    folder = make_task()
    spoil, told = TASKS[fault]
    spoil(folder)
    before = tree(folder)
    refused(kasauti(command, "--task", folder), told)
    assert tree(folder) == before


def spoilt(folder, model, change):
    """A copy of the model with a change."""
    import shutil

    copy = shutil.copytree(model, folder / "model")
    change(copy)
    return copy


MODELS = {
    "no tokenizer": (lambda m: [p.unlink() for p in m.glob("tokenizer*")], "the model folder has no tokenizer"),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), "the model folder has no weights"),
    "no configuration": (lambda m: (m / "config.json").unlink(), "has no config.json"),
    "no template": (lambda m: (m / "chat_template.jinja").unlink(), "the tokenizer has no chat template"),
    "broken configuration": (lambda m: (m / "config.json").write_text("{"), "config.json cannot be read"),
}


@pytest.mark.parametrize("fault", MODELS)
def test_a_model_that_cannot_be_used_is_refused_before_anything_is_written(
    kasauti, make_task, tmp_path, tiny_model, tree, fault
):
    spoil, told = MODELS[fault]
    folder = make_task(model=str(spoilt(tmp_path, tiny_model, spoil)))
    before = tree(folder)
    refused(kasauti("trial", "--task", folder), told)
    refused(kasauti("train", "--task", folder), told)
    assert tree(folder) == before


def test_a_trial_without_the_model_does_not_need_it(kasauti, make_task):
    folder = make_task(model="./nowhere")
    assert kasauti("trial", "--task", folder, "--approaches", "majority,classical").code == 0


def test_an_unknown_approach_names_the_nearest(kasauti, make_task):
    refused(kasauti("trial", "--task", make_task(), "--approaches", "clasical"), "Did you mean 'classical'?")
    refused(kasauti("trial", "--task", make_task(name="b"), "--approaches", ","), "no approach named")


def test_predicting_before_a_trial_says_what_to_do(kasauti, make_task, tree):
    folder = make_task()
    before = tree(folder)
    refused(kasauti("predict", folder / "test.csv", "--task", folder), "Run `kasauti trial` first")
    assert tree(folder) == before


def test_answers_go_to_no_impossible_place(kasauti, finished, tree):
    before, rows = tree(finished), finished / "test.csv"
    for out, told in (
        (finished, "is a folder"),
        (finished / "no" / "out.jsonl", "its folder is not there"),
        (rows, "is the input file"),
    ):
        refused(kasauti("predict", rows, "-o", out, "--task", finished), told)
    refused(kasauti("predict", finished / "no.csv", "--task", finished), "no such file")
    assert tree(finished) == before


@contextlib.contextmanager
def files_of_at_most(bytes):
    """As on a full disk: the system refuses to write more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("command", ["init", "audit", "trial"])
def test_a_full_disk_is_one_line_and_leaves_no_half_file(kasauti, make_task, file, tree, command):
    file("good")
    folder = make_task()
    words = {
        "init": ["init", "new", "--data", "good.csv", "--input", "text", "--target", "label"],
        "audit": ["audit", "--task", folder],
        "trial": ["trial", "--task", folder, "--approaches", "majority"],
    }[command]
    before = tree(folder)
    with files_of_at_most(400):
        ran = kasauti(*words)
    assert ran.code == 2, ran
    assert "cannot write: File too large" in ran.err.splitlines()[-1]
    left = tree(folder)
    assert {name: left[name] for name in before} == before
    assert not [name for name in left if name.endswith(".part")]
    assert not Path("new").exists()
    assert kasauti(*words).code == (1 if command == "audit" else 0)  # with room again, it goes on


@contextlib.contextmanager
def without_permission(folder):
    """A folder that may be read and not written; root is let down to an ordinary user meanwhile."""
    user = os.geteuid()
    for parent in [folder, *folder.parents]:
        if parent.stat().st_uid == user and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o555)
    folder.chmod(0o555)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


@pytest.mark.parametrize("command", ["init", "audit", "trial"])
def test_a_folder_that_may_not_be_written_is_one_line(kasauti, make_task, file, tree, command):
    file("good")
    folder = make_task()
    target = ["--task", folder, *(["--approaches", "majority"] if command == "trial" else [])]
    rows = ["--data", "good.csv", "--input", "text", "--target", "label"]
    words = [command, *(target if command != "init" else [folder / "new", *rows])]
    model = make_task(name="warm-up")  # the libraries are loaded before, for an ordinary user may not read them here
    kasauti(command, *([model / "new", *rows] if command == "init" else ["--task", model, *target[2:]]))
    before = tree(folder)
    with without_permission(folder):
        ran = kasauti(*words)
    assert ran.code == 2, ran
    assert "cannot write: Permission denied" in ran.err.splitlines()[-1]
    assert tree(folder) == before
