"""kill -9 at every touch of the disk: the registry is valid afterwards, and the same command ends as if nothing was."""

import dataclasses
import pickle
import shutil
from pathlib import Path

import pytest
from tests import killing
from tests.conftest import complaints, task_text, write_rows

from kasauti.core.task import load_task
from kasauti.decide.trial import run_trial
from kasauti.registry.register import register
from kasauti.registry.release import promote, rollback
from kasauti.registry.versions import Registry

AT = ".kasauti/registry/*"


def register_next(folder):
    """Register one more version, named by the file `next`."""
    trial = pickle.loads((Path(folder) / "trial.pickle").read_bytes())
    moved = {"folder": Path(folder) / trial.folder, "shipped": Path(folder) / trial.shipped}
    register(load_task(folder), dataclasses.replace(trial, id=(Path(folder) / "next").read_text(), **moved))


def promote_two(folder):
    """Promote version 2."""
    promote(Registry(load_task(folder)), 2)


def roll_back(folder):
    """Undo the last promotion."""
    rollback(Registry(load_task(folder)))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of a task with versions 1 (the champion) and 2, and a trial to register again; not to be changed."""
    folder = tmp_path_factory.mktemp("two")
    write_rows(folder / "train.csv", complaints(60, 1))
    write_rows(folder / "test.csv", complaints(12, 2))
    (folder / "task.yaml").write_text(task_text("kasauti/nano"), encoding="utf-8")
    trial = run_trial(load_task(folder), ["majority", "classical"])
    inside = {"folder": trial.folder.relative_to(folder), "shipped": trial.shipped.relative_to(folder)}
    (folder / "trial.pickle").write_bytes(pickle.dumps(dataclasses.replace(trial, **inside)))
    for id in "ab":
        (folder / "next").write_text(id)
        register_next(str(folder))
    return folder


def valid(folder):
    """Every version whole and as it was registered, one of them the champion; its standing."""
    registry = Registry(load_task(folder))
    for version in registry.versions():
        registry.check(version.number)
    standing = registry.standing()
    assert standing.champion in standing.versions
    return standing


def sweep(work, start, tmp_path):
    """Run `work` on copies of `start`, killed before its first change of the registry, its second, …; each copy is
    looked at, and then the same work is done in it. Yields what stands after the kill and in the end."""
    for nth in range(1, 200):
        folder = Path(shutil.copytree(start, tmp_path / f"killed-{nth}"))
        code, _, _ = killing.run(work, folder, at=AT, nth=nth)
        after = valid(folder)
        if code == 0:
            assert nth > 1
            shutil.rmtree(folder)
            return
        assert code == -9
        work(str(folder))
        yield nth, after, valid(folder), folder
        shutil.rmtree(folder)


def test_a_killed_promotion_happened_or_did_not(two, tmp_path):
    seen = [(after.champion, end.champion, end.previous) for _, after, end, _ in sweep(promote_two, two, tmp_path)]
    assert {champion for champion, _, _ in seen} <= {1, 2}
    assert all((champion, previous) == (2, (1,)) for _, champion, previous in seen)


def test_a_killed_rollback_happened_or_did_not(two, tmp_path):
    start = Path(shutil.copytree(two, tmp_path / "start"))
    promote(Registry(load_task(start)), 2)
    for nth in range(1, 50):
        folder = Path(shutil.copytree(start, tmp_path / f"killed-{nth}"))
        code, _, _ = killing.run(roll_back, folder, at=AT, nth=nth)
        assert valid(folder).champion in (1, 2)
        if code == 0:
            assert valid(folder).champion == 1
            return
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_killed_registration_leaves_no_half_version(two, tmp_path):
    """The third version, with nothing to remove, and the sixth, with a version that has to go."""
    for start in (two, _with_five(Path(shutil.copytree(two, tmp_path / "five")))):
        before = valid(start)
        number = before.next_number
        for _, after, end, folder in sweep(register_next, _named(start, tmp_path), tmp_path):
            assert after.champion == end.champion == 1
            assert number in end.versions
            assert end.next_number == number + 1
            there = {path.name for path in (folder / ".kasauti/registry/versions").iterdir()}
            assert there == {sealed.folder for sealed in end.versions.values()}
            assert not list((folder / ".kasauti/registry").glob(".new-*"))


def _named(start, tmp_path):
    folder = Path(shutil.copytree(start, tmp_path / f"start-{start.name}"))
    (folder / "next").write_text("one more")
    return folder


def _with_five(folder):
    for id in "cde":
        (folder / "next").write_text(id)
        register_next(str(folder))
    return folder
