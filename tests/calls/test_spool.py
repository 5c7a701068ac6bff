"""Calls that waited on disk come into the database, each once, however often the process that brings them is killed."""

import multiprocessing
import os
import signal
import time

import pytest
from tests.calls.conftest import call

from kasauti.calls.keep import erase
from kasauti.calls.log import CallLog
from kasauti.calls.spool import DAMAGED, SUFFIX, Spool
from kasauti.core.errors import StorageError

FORK = multiprocessing.get_context("forkserver")


def ids(log):
    return [one.id for one in log.read()]


def test_what_waits_is_brought_once_and_is_gone_from_the_disk(log, tmp_path):
    spool = Spool(tmp_path / "spool")
    batch = [call(f"{n}", fields={"text": "₹ \0 \n"}) for n in range(500)]
    spool.append(batch[:3])
    spool.append(batch[3:])
    assert {one.stat().st_mode & 0o777 for one in spool.folder.iterdir()} == {0o600}
    log.append(batch[:10])  # the commit whose answer was lost
    assert spool.replay(log) == 490
    assert sorted(ids(log), key=int) == [one.id for one in batch]
    assert log.get("7") == batch[7]
    assert log.latencies().total == 500
    assert (spool.replay(log), spool.waiting_bytes(), list(spool.folder.iterdir())) == (0, 0, [])


def test_a_line_that_was_cut_off_was_never_answered_and_a_broken_one_is_kept_for_a_person(log, tmp_path):
    spool = Spool(tmp_path)
    for name in "abc":
        spool.append([call(name)])
    spool.close()
    (file,) = tmp_path.glob(f"*{SUFFIX}")
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert spool.replay(log) == 2
    assert not list(tmp_path.glob(f"*{DAMAGED}"))
    (tmp_path / f"0{SUFFIX}").write_bytes(whole.replace(b'"a"', b'"x"'))
    assert spool.replay(log) == 1
    assert ids(log) == ["a", "b", "c"]
    assert [one.name for one in tmp_path.glob(f"*{DAMAGED}")] == [f"0{DAMAGED}"]


def test_a_call_that_the_database_sends_back_keeps_no_other_waiting(postgres, tmp_path):
    log, spool = CallLog.open(postgres.database()), Spool(tmp_path)
    spool.append([call("a"), call("b", version=2**40), call("c")])
    assert spool.replay(log) == 2
    assert ids(log) == ["a", "c"]
    assert [one.suffix for one in tmp_path.iterdir()] == [DAMAGED]


def test_a_spool_has_a_limit_and_a_full_disk_leaves_no_half_batch(log, tmp_path, monkeypatch):
    spool = Spool(tmp_path, limit=1000)
    spool.append([call("a")])
    with pytest.raises(StorageError, match="wait already"):
        spool.append([call("b")] * 3)
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[: len(data) // 2]))
    with pytest.raises(StorageError, match="No space left"):
        Spool(tmp_path).append([call("c")])
    monkeypatch.undo()
    spool.append([call("d")])
    assert spool.replay(log) == 2
    assert sorted(ids(log)) == ["a", "d"]


def test_a_file_that_another_process_writes_is_left_to_it(log, tmp_path):
    mine, other = Spool(tmp_path), Spool(tmp_path)
    other.append([call("a")])
    assert mine.in_use()
    assert mine.replay(log) == 0
    other.append([call("b")])
    other.close()
    assert not mine.in_use()
    assert mine.replay(log) == 2


def test_large_files_are_closed_and_others_begun(log, tmp_path, monkeypatch):
    monkeypatch.setattr("kasauti.calls.spool.FILE_BYTES", 2000)
    spool = Spool(tmp_path)
    for n in range(20):
        spool.append([call(f"{n:02}")])
    assert len(list(tmp_path.iterdir())) > 3
    assert spool.replay(log) == 20


def replay(where, folder):
    Spool(folder).replay(CallLog.open(where))


def test_a_killed_replay_repeats_nothing_not_even_what_was_erased_meanwhile(log, where, tmp_path):
    folder = tmp_path / "spool"
    spool = Spool(folder)
    for start in range(0, 3000, 100):
        spool.append([call(f"{n}", caller="f" * 32) for n in range(start, start + 100)])
    spool.close()
    erased = 0
    for _ in range(3):
        before = log.latencies().total
        process = FORK.Process(target=replay, args=(where, str(folder)))
        process.start()
        limit = time.monotonic() + 60
        while process.is_alive() and log.latencies().total < before + 200 and time.monotonic() < limit:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        erased += erase(log, caller="f" * 32)
    Spool(folder).replay(log)
    assert erased + len(ids(log)) == log.latencies().total == 3000
    assert list(folder.iterdir()) == []
