"""The command line itself: help, errors, exit codes, and what goes to which stream."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kasauti.cli import main as entry
from kasauti.cli.command import CommandResult
from kasauti.cli.main import VERBS

SOURCE = Path(__file__).parents[2] / "src"


def start(*words, code="", **options):
    """The command line in a process of its own."""
    run = f"{code}\nfrom kasauti.cli.main import main\nimport sys\nstatus = main(sys.argv[1:])\n"
    run += "print(int('torch' in sys.modules), file=sys.stderr)\nraise SystemExit(status)"
    words = [sys.executable, "-c", run, *map(str, words)]
    given = {"env": {**os.environ, "PYTHONPATH": str(SOURCE)}, "capture_output": True, "text": True, "timeout": 120}
    return subprocess.run(words, check=False, **{**given, **options})


@pytest.fixture
def verb(monkeypatch):
    """`verb(function)` makes `kasauti versions` run that function."""

    def put(function):
        monkeypatch.setattr(VERBS["versions"], "run", function)

    return put


def spent_by_children():
    """Processor seconds of all ended child processes: what a command takes where nothing else runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_answers_in_under_three_tenths_of_a_second_and_without_torch():
    times = []
    for _ in range(5):  # the fastest counts: a busy machine is no fault of the command
        began = spent_by_children()
        ran = start("--help")
        times.append(spent_by_children() - began)
        assert (ran.returncode, ran.stderr.strip()) == (0, "0")
        if times[-1] < 0.3:
            break
    assert min(times) < 0.3
    assert all(verb in ran.stdout for verb in VERBS)


def test_the_help_of_every_verb_comes_quickly_and_imports_nothing_heavy(capsys):
    for name in VERBS:
        began = time.process_time()
        assert entry.main([name, "--help"]) == 0
        assert time.process_time() - began < 0.1
        shown = capsys.readouterr().out
        assert "--task" in shown
        assert "--json" in shown


def test_listing_the_verbs_loads_no_library_in_a_fresh_process():
    code = "import sys, kasauti.cli.main as m\nfor v in m.VERBS: m.main([v, '--help'])\n"
    code += "heavy = {'torch', 'transformers', 'numpy', 'pandas', 'sklearn', 'yaml', 'rich'}\n"
    code += "print(*heavy & set(sys.modules), file=sys.stderr)"
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env, timeout=60)
    assert ran.stderr.split() == []


def test_the_version_is_told(kasauti):
    import kasauti as package

    assert kasauti("--version").out == f"kasauti {package.__version__}\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trail"], "there is no command 'trail'. Did you mean 'trial'?"),
        (["frobnicate"], "there is no command 'frobnicate'. Commands: demo, init"),
        ([], "no command is given"),
        (["trial", "--aproaches", "tuned"], "trial has no option --aproaches. Did you mean '--approaches'?"),
        (["--json", "audit"], "--json stands before the command"),
        (["versions", "extra"], "'extra' is one word too many"),
        (["predict"], "the following arguments are required: FILE"),
        (["init", "x", "--input", "a", "--target", "b"], "the following arguments are required: --data"),
        (["audit", "--samples", "many"], "argument --samples: invalid int value: 'many'"),
        (["audit", "--samp", "3"], "audit has no option --samp. Did you mean '--samples'?"),
    ],
)
def test_wrong_usage_is_one_line_with_the_nearest_word_and_exit_code_2(kasauti, words, told):
    ran = kasauti(*words)
    assert ran.code == 2
    assert ran.error_line.startswith(told)


def test_with_json_an_error_is_a_document_too(kasauti, tmp_path):
    ran = kasauti("audit", "--task", tmp_path, "--json")
    assert ran.code == 2
    error = ran.document["error"]
    assert error["line"] == ran.error_line
    assert error["exit_code"] == 2
    assert error["where"].endswith("task.yaml")
    assert "kasauti init" in error["mend"]


def test_what_libraries_print_never_reaches_standard_output(kasauti, verb):
    def noisy(args):
        print("from Python")
        os.system("echo from a child")
        os.write(1, b"from C\n")
        return CommandResult({"fine": True}, ["fine"])

    verb(noisy)
    ran = kasauti("versions", "--json")
    assert ran.document == {"fine": True}
    assert all(line in ran.err for line in ("from Python", "from a child", "from C"))
    assert kasauti("versions").out == "fine\n"


def test_figures_that_are_no_numbers_become_null(kasauti, verb):
    verb(lambda args: CommandResult({"a": float("nan"), "b": [float("inf"), 1.5]}, []))
    assert kasauti("versions", "--json").document == {"a": None, "b": [None, 1.5]}


def test_an_interrupt_is_one_line_and_130(kasauti, verb):
    def interrupted(args):
        raise KeyboardInterrupt

    verb(interrupted)
    ran = kasauti("versions")
    assert ran.code == 130
    assert ran.error_line.startswith("interrupted. What was finished is kept")


def test_a_fault_of_ours_is_one_line_and_a_traceback_only_on_request(kasauti, verb, monkeypatch):
    def broken(args):
        raise ValueError("first line\nsecond line")

    verb(broken)
    monkeypatch.delenv("KASAUTI_DEBUG", raising=False)
    ran = kasauti("versions")
    assert ran.code == 1
    assert "ValueError: first line" in ran.error_line
    assert "KASAUTI_DEBUG=1" in ran.error_line
    monkeypatch.setenv("KASAUTI_DEBUG", "1")
    assert "Traceback" in kasauti("versions").err


def test_warnings_of_libraries_are_silent_unless_asked_for(kasauti, verb, monkeypatch):
    def warns(args):
        import logging
        import warnings

        warnings.warn("old name", FutureWarning, stacklevel=1)
        logging.getLogger("transformers").warning("advice")
        return CommandResult({}, [])

    verb(warns)
    monkeypatch.delenv("KASAUTI_DEBUG", raising=False)
    assert kasauti("versions").err == ""


def test_a_reader_that_has_had_enough_is_no_fault(verb):
    code = (
        "import kasauti.cli.versions as v\nfrom kasauti.cli.command import CommandResult\n"
        "v.run = lambda args: CommandResult({}, ['x' * 100] * 10000)"
    )
    read, write = os.pipe()
    os.close(read)
    ran = start("versions", code=code, stdout=write, capture_output=False, stderr=subprocess.PIPE)
    os.close(write)
    assert (ran.returncode, ran.stderr.strip()) == (0, "0")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_standard_output_on_a_full_disk_is_one_line_and_2():
    code = (
        "import kasauti.cli.versions as v\nfrom kasauti.cli.command import CommandResult\n"
        "v.run = lambda args: CommandResult({}, ['x'])"
    )
    with open("/dev/full", "w") as full:
        ran = start("versions", code=code, stdout=full, capture_output=False, stderr=subprocess.PIPE)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[0].startswith("kasauti: No space left on device. Free some space")


def test_closed_standard_output_is_survived():
    words = f"{sys.executable} -c \"from kasauti.cli.main import main; raise SystemExit(main(['versions']))\" >&-"
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    ran = subprocess.run(
        words, shell=True, stderr=subprocess.PIPE, text=True, check=False, cwd="/", env=env, timeout=60
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("kasauti: ")
    assert len(ran.stderr.splitlines()) == 1


def test_every_verb_says_what_it_is_in_one_line():
    for name, module in VERBS.items():
        assert module.HELP.strip(), name
        assert "\n" not in module.HELP
        assert json.dumps(module.ABOUT)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_what_is_the_work_of_one_process_is_refused_by_several_in_one_line(kasauti, verb, monkeypatch, rank):
    verb(lambda args: CommandResult({}, ["never"]))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    ran = kasauti("versions")
    assert (ran.code, ran.out) == (2, "")
    if rank == "0":
        assert ran.error_line.startswith("2 processes were started, and versions is the work of one.")
    else:
        assert ran.err == ""
