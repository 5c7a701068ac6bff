"""`kasauti train` under torchrun: the adapter of one process, one voice, and a kill that costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

TRAIN = "train: {epochs: 3, batch: 8, micro_batch: 2, r: 4, learning_rate: 0.01, dropout: 0.0}"
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
COMMAND = ["-m", "kasauti.cli.main", "train"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def task(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    from tests.conftest import complaints, task_text, write_rows

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        write_rows(folder / "train.csv", complaints(60, 1))
        write_rows(folder / "test.csv", complaints(12, 2))
        lines = [line for line in task_text(tiny_model).splitlines() if not line.startswith("train:")]
        (folder / "task.yaml").write_text("\n".join([*lines, TRAIN, ""]), encoding="utf-8")
        return folder

    return make


def started(folder: Path, launcher: list[str], command: list[str] = COMMAND) -> subprocess.Popen[str]:
    words = [*launcher, *command, "--task", str(folder), "--json"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def only(folder: Path) -> Path:
    (found,) = (folder / ".kasauti" / "runs").iterdir()
    return found


def weights(folder: Path) -> torch.Tensor:
    saved = load_file(only(folder) / "adapter" / "adapter_model.safetensors")
    return torch.cat([saved[name].flatten().double() for name in sorted(saved)])


@pytest.fixture(scope="module")
def both(task: Callable[[str], Path]) -> tuple[Path, str, str]:
    """The folder of a run by two processes, and what they said."""
    folder = task("two")
    process = started(folder, LAUNCHER)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return folder, out, err


def test_two_processes_of_the_command_end_with_the_adapter_of_one(task, both):
    folder = task("one")
    process = started(folder, [sys.executable])
    out, err = process.communicate()
    assert process.returncode == 0, err
    alone, together = weights(folder), weights(both[0])
    assert float((together - alone).norm() / alone.norm()) <= 1e-5
    one, two = json.loads(out), json.loads(both[1])
    assert (one["ran"]["processes"], two["ran"]["processes"]) == (1, 2)
    assert one["id"] == two["id"]
    assert two["best_validation_loss"] == pytest.approx(one["best_validation_loss"], rel=1e-5)
    assert two["curve"][-1]["train_loss"] == pytest.approx(one["curve"][-1]["train_loss"], rel=1e-5)


def test_only_the_first_process_writes_and_speaks(both):
    folder, out, err = both
    json.loads(out)  # one document, not two
    run = only(folder)
    assert {p.name for p in run.iterdir()} == {"adapter", "recipe.json", "run.json", "seconds.json", "tensorboard"}
    assert len(list((run / "tensorboard").iterdir())) == 1
    told = [line for line in err.splitlines() if line.startswith("kasauti: train 21/21")]
    assert len(told) == 1
    log = (folder / ".kasauti" / "data" / "log.jsonl").read_text("utf-8")
    assert len(log.splitlines()) == 1


def alive(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def until(condition: Callable[[], Any], seconds: float = 1800.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_launcher_killed_outright_takes_its_processes_with_it_and_the_command_goes_on(task, both):
    folder = task("killed")
    process = started(folder, LAUNCHER)
    state = ".kasauti/runs/*/checkpoints/checkpoint-7/trainer_state.json"
    until(lambda: list(folder.glob(state)) or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until(lambda: not alive(folder))
    run = only(folder)
    assert not (run / "run.json").exists()
    (checkpoint,) = run.glob("checkpoints/checkpoint-7")
    assert {p.name for p in checkpoint.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    again = started(folder, LAUNCHER)
    _, err = again.communicate()
    assert again.returncode == 0, err
    assert "train 7/21" not in err  # it went on from there
    assert torch.equal(weights(folder), weights(both[0]))
    assert json.loads((run / "run.json").read_text("utf-8"))["steps"] == 21


def test_a_failure_of_one_process_ends_all_with_one_line_and_its_exit_code(task, tmp_path):
    """The second process finds a task file that is at fault; the first is waiting for it by then."""
    good, bad = task("good"), tmp_path
    (bad / "task.yaml").write_text("nmae: x\n", encoding="utf-8")
    script = tmp_path / "odd.py"
    script.write_text(
        "import os, sys\nfrom kasauti.cli.main import main\n"
        f"where = {str(bad)!r} if os.environ['RANK'] == '1' else {str(good)!r}\n"
        "code = main(['train', '--task', where])\n"
        "print('exit', os.environ['RANK'], code, flush=True)\nsys.exit(code)\n",
        encoding="utf-8",
    )
    process = subprocess.run([*LAUNCHER, str(script)], capture_output=True, text=True)
    assert process.returncode != 0
    told = [line for line in process.stderr.splitlines() if line.startswith("kasauti: ") and "train" not in line[:16]]
    assert len(told) == 1, process.stderr
    assert "nmae" in told[0]
    assert "exit 1 2" in process.stdout
    assert "exit 0 0" not in process.stdout
    assert not list(good.glob(".kasauti/runs/*/run.json"))
