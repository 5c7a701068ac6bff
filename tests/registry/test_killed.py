"""kill -9 at every touch of the disk: the registry is valid afterwards, and the same command ends as if nothing was."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from tests import killing

from kasauti.core.task import load_task
from kasauti.registry.register import register
from kasauti.registry.release import promote, rollback
from kasauti.registry.versions import Registry

AT = ".kasauti/registry/*"


def register_next(folder):
    """Register one more version, named by how many there are."""
    from kasauti.approaches.catalogue import DEFAULT
    from kasauti.decide.trial import run_trial

    task = load_task(folder)
    trial = run_trial(task, DEFAULT)
    register(task, dataclasses.replace(trial, id=(Path(folder) / "next").read_text()))


def promote_two(folder):
    """Promote version 2."""
    promote(Registry(load_task(folder)), 2)


def roll_back(folder):
    """Undo the last promotion."""
    rollback(Registry(load_task(folder)))


@pytest.fixture
def two(tried):
    """The folder of a task with versions 1 (the champion) and 2."""
    task, trial = tried
    for id in "ab":
        register(task, dataclasses.replace(trial, id=id))
    return Path(task.folder)


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
    promote(Registry(load_task(two)), 2)
    for nth in range(1, 50):
        folder = Path(shutil.copytree(two, tmp_path / f"killed-{nth}"))
        code, _, _ = killing.run(roll_back, folder, at=AT, nth=nth)
        assert valid(folder).champion in (1, 2)
        if code == 0:
            assert valid(folder).champion == 1
            return
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_killed_registration_leaves_no_half_version(two, tmp_path):
    """The third and the fifth version: with nothing to remove, and with one version too many."""
    for start in (two, _with_four(two)):
        before = valid(start)
        (start / "next").write_text("one more")
        number = before.next_number
        for _, after, end, folder in sweep(register_next, start, tmp_path):
            assert after.champion == end.champion == 1
            assert number in end.versions
            assert end.next_number == number + 1
            there = {path.name for path in (folder / ".kasauti/registry/versions").iterdir()}
            assert there == {sealed.folder for sealed in end.versions.values()}
            assert not list((folder / ".kasauti/registry").glob(".new-*"))


def _with_four(folder):
    for id in "cd":
        (folder / "next").write_text(id)
        register_next(str(folder))
    return folder
