"""Claims about programs that nobody vouches for: harm stays inside, and ends with a failure."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.measure.hostile import HOSTILE

from kasauti.core.errors import IsolationError
from kasauti.measure.sandbox import kernel
from kasauti.measure.sandbox.outcome import Limits, Outcome
from kasauti.measure.sandbox.run import KEPT_BYTES, run_program, run_programs

SOURCE = Path(__file__).parents[2] / "src"
TIGHT = Limits(seconds=1, patience=2, memory_mb=300, processes=16, file_mb=16, output_bytes=200_000)


def isolation_fault() -> str | None:
    try:
        run_program("pass")
    except IsolationError as error:
        return str(error)
    return None


FAULT = isolation_fault()
isolated = pytest.mark.skipif(FAULT is not None, reason=str(FAULT))


@dataclass
class Outside:
    """What a program could harm."""

    secret: Path
    victim: Path
    listening: socket.socket
    local: socket.socket
    abstract: str

    def fill(self, program: str) -> str:
        values = {"secret": self.secret, "victim": self.victim, "parent": os.getpid(), "abstract": self.abstract}
        for name, value in {**values, "port": self.listening.getsockname()[1]}.items():
            program = program.replace(f"{{{name}}}", str(value))
        return program


@pytest.fixture
def outside(tmp_path, monkeypatch):
    tmp_path.chmod(0o755)
    secret, victim = tmp_path / "secret.txt", tmp_path / "victim.txt"
    secret.write_text("CANARY-7431")
    victim.write_text("still here")
    victim.chmod(0o666)
    monkeypatch.setenv("KASAUTI_CANARY", "CANARY-7431")
    listening = socket.create_server(("127.0.0.1", 0))
    local = socket.socket(socket.AF_UNIX)
    abstract = f"kasauti-test-{os.getpid()}"
    local.bind(f"\0{abstract}")
    local.listen()
    for one in (listening, local):
        one.setblocking(False)
    yield Outside(secret, victim, listening, local, abstract)
    listening.close()
    local.close()


@pytest.fixture
def orphans():
    """Processes that were left behind: they come to this process, which has asked for them."""
    libc = ctypes.CDLL(None)

    def children() -> set[str]:
        return {p for task in Path("/proc/self/task").iterdir() for p in (task / "children").read_text().split()}

    assert libc.prctl(36, 1, 0, 0, 0) == 0
    before = children()
    yield lambda: children() - before
    libc.prctl(36, 0, 0, 0, 0)


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@isolated
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_program_fails_and_leaves_the_machine_as_it_was(name, outside, orphans, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "made"))  # other tests make folders beside it
    (tmp_path / "made").mkdir()
    allowed, program = HOSTILE[name]
    memory = resident_bytes()
    execution = run_program(outside.fill(program), TIGHT)
    assert execution.outcome in allowed, execution
    assert not execution.passed
    assert "CANARY" not in execution.output + execution.detail
    assert len(execution.output) <= KEPT_BYTES
    assert orphans() == set()
    assert outside.secret.read_text() == "CANARY-7431"
    assert outside.victim.read_text() == "still here"
    assert list((tmp_path / "made").iterdir()) == []
    for one in (outside.listening, outside.local):
        with pytest.raises(BlockingIOError):
            one.accept()
    assert resident_bytes() - memory < 32 * 2**20


@isolated
def test_a_program_that_runs_to_its_end_passes_and_its_words_are_kept():
    execution = run_program("import json, dataclasses, re\nprint(json.dumps({'हाँ': 1}, ensure_ascii=False))")
    assert (execution.outcome, execution.output) == (Outcome.PASSED, '{"हाँ": 1}\n')


@isolated
@pytest.mark.parametrize(
    ("program", "outcome", "detail"),
    [
        ("assert 1 == 2, 'one is not two'", Outcome.FAILED, "AssertionError: one is not two"),
        ("def f(:", Outcome.RAISED, "SyntaxError"),
        ("'a\\0b'; 1/0", Outcome.RAISED, "ZeroDivisionError"),
        ("raise KeyboardInterrupt", Outcome.RAISED, "KeyboardInterrupt"),
        ("class E(Exception):\n    def __str__(self): raise E\nraise E", Outcome.RAISED, "E"),
        ("input()", Outcome.RAISED, "EOFError"),
        ("import ctypes\nctypes.string_at(0)", Outcome.KILLED, "SIGSEGV"),
        ("import sys\nsys.stdout = sys.stderr = None\nassert 0", Outcome.FAILED, "AssertionError"),
    ],
)
def test_how_a_program_ended_is_told(program, outcome, detail):
    execution = run_program(program)
    assert execution.outcome is outcome
    assert execution.detail.startswith(detail)


@isolated
def test_programs_may_use_threads_processes_and_their_temporary_folder():
    assert run_program(
        "import concurrent.futures, multiprocessing, tempfile, subprocess, sys, asyncio\n"
        "with concurrent.futures.ThreadPoolExecutor(2) as pool:\n    assert list(pool.map(abs, [-1])) == [1]\n"
        "with tempfile.NamedTemporaryFile() as f:\n    f.write(b'x')\n"
        "lock = multiprocessing.Lock()\n"
        "asyncio.run(asyncio.sleep(0))\n"
        "p = multiprocessing.get_context('fork').Process(target=lambda: None)\np.start()\np.join()\n"
        "assert p.exitcode == 0\n"
    ).passed


@isolated
def test_two_programs_share_no_file_and_results_keep_their_order():
    write = "open('/tmp/mark', 'x').close()\nprint({})"
    executions = run_programs([write.format(i) for i in (3, 1, 2, 1)], workers=2)
    assert [e.output for e in executions] == ["3\n", "1\n", "2\n", "1\n"]
    assert all(e.passed for e in executions)


@isolated
def test_installed_packages_are_not_seen():
    assert run_program("import numpy").detail.startswith("ModuleNotFoundError")


@isolated
def test_an_order_that_hangs_on_hashes_is_the_same_every_time():
    program = "print(list({'a', 'b', 'c', 'd', 'e', 'f'}))"
    assert run_program(program).output == run_program(program).output


@isolated
def test_killing_whoever_asked_ends_the_program(orphans):
    code = "from kasauti.measure.sandbox.run import run_program\nrun_program('print(1, flush=True)\\nwhile True: pass')"
    asked = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SOURCE)})
    tree = Path(f"/proc/{asked.pid}/task/{asked.pid}/children")
    while not tree.read_text():
        time.sleep(0.01)
    time.sleep(0.3)  # the program runs by now, or the launcher is about to start it: both must end
    asked.send_signal(signal.SIGKILL)
    asked.wait()
    until = time.monotonic() + 30
    while (left := orphans()) and time.monotonic() < until:
        for child in left:  # what is left comes here, and ends by itself; other children of this process stay
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(child), os.WNOHANG)
        time.sleep(0.02)
    assert orphans() == set()


@pytest.mark.parametrize("machine", kernel.MACHINES)
def test_the_filter_has_only_jumps_that_land_inside_it(machine):
    code = kernel.filter_program(machine)
    lines = [code[i : i + 8] for i in range(0, len(code), 8)]
    assert len(code) % 8 == 0
    assert len(lines) < 4096
    for number, line in enumerate(lines):
        if line[0] in (0x15, 0x35, 0x45):
            assert number + 1 + max(line[2], line[3]) < len(lines)
    assert lines[-1][0] == 0x06


REFUSING = """
import errno
from kasauti.measure.sandbox import {module}
def fault(*a, **k): raise OSError(errno.EPERM, "Operation not permitted")
{module}.{name} = fault
from kasauti.measure.sandbox import launch
launch.main()
"""


@isolated
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("kernel", "unshare"),
        ("kernel", "mount_memory"),
        ("kernel", "bind"),
        ("kernel", "read_only"),
        ("kernel", "enter_root"),
        ("kernel", "drop_bounds"),
        ("kernel", "drop_capabilities"),
        ("kernel", "filter_calls"),
    ],
)
def test_where_a_part_of_the_wall_cannot_be_built_nothing_is_run(module, name, monkeypatch, tmp_path):
    from kasauti.measure.sandbox import run

    start = "import sys; sys.path.append(sys.argv.pop(1))\n" + REFUSING.format(module=module, name=name)
    monkeypatch.setattr(run, "_START", start)
    with pytest.raises(IsolationError, match=r"sandbox: code cannot be run safely here: .*not permitted") as refused:
        run_program("print('I ran')")
    assert "\n" not in str(refused.value)
    assert "user namespaces" in refused.value.mend
    assert refused.value.exit_code == 2


@isolated
def test_a_wall_with_a_hole_is_found_before_anything_is_run(monkeypatch):
    from kasauti.measure.sandbox import run

    hole = "from kasauti.measure.sandbox import kernel, launch; kernel.filter_calls = lambda: None; launch.main()"
    monkeypatch.setattr(run, "_START", f"import sys; sys.path.append(sys.argv.pop(1)); {hole}")
    with pytest.raises(IsolationError, match="could be made"):
        run_program("print('I ran')")


ORDINARY = ["--reuid", "12345", "--regid", "12345", "--clear-groups"]
CONTAINER = ["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]


@isolated
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become somebody else")
@pytest.mark.parametrize("rights", [ORDINARY, CONTAINER], ids=["an ordinary user", "root without the right to mount"])
def test_who_has_fewer_rights_is_contained_too(tmp_path, rights):
    """The parts that root has without a user namespace, others have in one."""
    python = next((p for p in ("/usr/bin/python3", "/usr/local/bin/python3") if _is_new_enough(p)), None)
    if python is None:
        pytest.skip("there is no Python that an ordinary user may run")
    shutil.copytree(SOURCE / "kasauti", tmp_path / "kasauti", ignore=shutil.ignore_patterns("bundled", "__pycache__"))
    for path in (tmp_path, *tmp_path.rglob("*"), *tmp_path.parents[:-2]):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    secret = tmp_path / "own.txt"
    secret.write_text("CANARY")
    os.chown(secret, 12345, 12345)
    programs = [
        "import os\nassert os.getuid() != 0\nprint('fine')",
        f"print(open({str(secret)!r}).read())",
        f"import os\nos.remove({str(secret)!r})",
        "import os\nos.kill(os.getppid(), 9)\nos.kill(-1, 9)\nraise OSError",
        "import socket\nsocket.socket()",
        "import os\nwhile True:\n    os.fork()",
    ]
    code = (
        "from kasauti.measure.sandbox.run import run_program\nfrom kasauti.measure.sandbox.outcome import Limits\n"
        f"for p in {programs!r}:\n    print(run_program(p, Limits(seconds=1, patience=1, processes=16)).outcome)"
    )
    user = ["setpriv", *rights, python, "-B", "-c", code]
    done = subprocess.run(user, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}, cwd="/")
    if "cannot be run safely" in done.stderr:
        pytest.skip("ordinary users have no namespaces here")
    said = done.stdout.split()
    assert said[0] == "passed", done.stderr
    assert "passed" not in said[1:]
    assert len(said) == len(programs)
    assert secret.read_text() == "CANARY"


def _is_new_enough(python: str) -> bool:
    if not os.path.exists(python):
        return False
    asked = [python, "-c", "import sys; print(sys.version_info >= (3, 11))"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip() == "True"
