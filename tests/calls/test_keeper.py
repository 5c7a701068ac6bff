"""The database goes away for a while: by the policy nothing is answered, or everything is kept on disk; nothing is
lost."""

import shutil
import sqlite3
import threading
import time
from contextlib import contextmanager

import pytest
from tests.calls.conftest import call
from tests.calls.test_keep import answer

from kasauti.calls import database
from kasauti.calls.keeper import Keeper, Kept, Policy
from kasauti.calls.log import CallLog
from kasauti.core.errors import UsageError


@pytest.fixture
def away(request, where, monkeypatch):
    """A way to make the database go away: PostgreSQL is stopped, SQLite's file is locked by somebody else."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)

    @contextmanager
    def gone():
        if "://" in where:
            cluster = request.getfixturevalue("postgres")
            cluster.stop()
            try:
                yield
            finally:
                cluster.start()
        else:
            other = sqlite3.connect(where, isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")
            other.close()

    return gone


def keeper_at(where, folder, policy, **more):
    one = Keeper(where, "Sort.", folder, policy=policy, **more)
    one.open()
    return one


def ids(where):
    log = CallLog.open(where)
    found = [one.id for one in log.read()]
    assert log.latencies().total == len(found)
    log.close()
    return found


def test_refused_while_it_is_away_and_kept_again_afterwards(where, away, tmp_path):
    keeper = keeper_at(where, tmp_path / "spool", Policy.REFUSE)
    assert keeper.keep([answer("a")]) == [Kept.COMMITTED]
    with away():
        assert keeper.keep([answer("b"), answer("c")]) == [Kept.REFUSED] * 2
        assert not keeper.state.ready
        assert keeper.state.trouble
        keeper.look()
        assert keeper.keep([answer("d")]) == [Kept.REFUSED]
    keeper.look()
    assert (keeper.state.up, keeper.state.ready, keeper.state.trouble) == (True, True, "")
    assert keeper.keep([answer("e")]) == [Kept.COMMITTED]
    assert ids(where) == ["a", "e"]
    assert not (tmp_path / "spool").exists()


def test_spooled_while_it_is_away_and_brought_back_once(where, away, tmp_path):
    keeper = keeper_at(where, tmp_path, Policy.SPOOL)
    assert keeper.keep([answer("a")]) == [Kept.COMMITTED]
    with away():
        assert keeper.keep([answer("b"), answer("c")]) == [Kept.SPOOLED] * 2
        assert (keeper.state.up, keeper.state.ready) == (False, True)
        assert keeper.look() == 0
        second = keeper_at(where, tmp_path, Policy.SPOOL)  # another service starts meanwhile
        assert second.keep([answer("d", caller="x")]) == [Kept.SPOOLED]
    assert keeper.look() + second.look() == 3
    assert keeper.keep([answer("e", caller="x")]) == [Kept.COMMITTED]
    assert sorted(ids(where)) == list("abcde")
    log = CallLog.open(where)
    assert log.get("d").caller == log.get("e").caller
    keeper.look()
    assert keeper.state.waiting_bytes == second.state.waiting_bytes == 0


def test_a_spool_at_its_limit_refuses(where, away, tmp_path):
    keeper = keeper_at(where, tmp_path, Policy.SPOOL, spool_bytes=10)
    with away():
        assert keeper.keep([answer("a")]) == [Kept.REFUSED]
    keeper.look()
    assert keeper.state.ready


def test_a_service_that_never_reached_its_database_answers_nobody(tmp_path):
    keeper = keeper_at("postgresql://x@127.0.0.1:1/x", tmp_path / "spool", Policy.SPOOL)
    assert not keeper.state.ready
    assert keeper.keep([answer("a")]) == [Kept.REFUSED]


def test_a_connection_that_the_server_closed_meanwhile_is_no_trouble(postgres, tmp_path):
    keeper = keeper_at(postgres.database(), tmp_path, Policy.REFUSE)
    assert keeper.keep([answer("a")]) == [Kept.COMMITTED]
    postgres.stop()
    postgres.start()
    assert keeper.keep([answer("b")]) == [Kept.COMMITTED]


def test_a_connection_that_the_driver_knows_to_be_lost_is_no_trouble(postgres, tmp_path):
    keeper = keeper_at(postgres.database(), tmp_path, Policy.REFUSE)
    assert keeper.keep([answer("a")]) == [Kept.COMMITTED]
    held = keeper.log.database._writer.raw_connection()
    held.driver_connection.close()
    held.close()
    assert keeper.keep([answer("b")]) == [Kept.COMMITTED]


def test_a_database_that_stands_still_is_hung_up_on(postgres, tmp_path):
    where = postgres.database()
    keeper = keeper_at(where, tmp_path, Policy.SPOOL)
    assert keeper.keep([answer("a")]) == [Kept.COMMITTED]
    postgres.freeze()
    try:
        kept = []
        working = threading.Thread(target=lambda: kept.extend(keeper.keep([answer("b")])))
        working.start()
        limit = time.monotonic() + 60
        while working.is_alive() and time.monotonic() < limit:
            time.sleep(0.05)
            keeper.log.database.hang_up(0.2)
        assert kept == [Kept.SPOOLED]
    finally:
        postgres.thaw()
    keeper.look()
    assert sorted(ids(where)) == ["a", "b"]


def test_old_calls_go_by_themselves(where, tmp_path):
    log = CallLog.open(where)
    log.append([call("old")])
    keeper = keeper_at(where, tmp_path, Policy.SPOOL, days=30)
    keeper.keep([answer("new")])
    keeper.look()
    assert [one.id for one in log.read()] == ["new"]


def test_a_file_that_is_deleted_in_operation_is_made_anew(tmp_path):
    folder = tmp_path / "data"
    keeper = keeper_at(str(folder / "calls.db"), tmp_path / "spool", Policy.SPOOL)
    assert keeper.keep([answer("a")]) == [Kept.COMMITTED]
    shutil.rmtree(folder)
    assert keeper.keep([answer("b")]) != [Kept.REFUSED]
    keeper.look()
    assert ids(str(folder / "calls.db")) == ["b"]


def test_a_database_of_another_key_is_said_at_once(where, tmp_path, monkeypatch):
    keeper_at(where, tmp_path, Policy.SPOOL)
    monkeypatch.setenv("KASAUTI_CALLER_KEY", "mine")
    with pytest.raises(UsageError, match="another key"):
        keeper_at(where, tmp_path, Policy.SPOOL)
