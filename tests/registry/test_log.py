"""The log: created file by file, never changed, the same for everybody who reads it."""

import json
import threading
import uuid

import pytest

from kasauti.core.errors import KasautiError, StorageError, UsageError
from kasauti.registry.log import Log
from kasauti.registry.standing import Event
from kasauti.registry.store import Store


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    return f"file://{tmp_path}/registry" if request.param == "file" else f"memory://{uuid.uuid4()}"


def register(standing):
    number = standing.next_number
    more = {"sha256": f"{number:064}", "folder": f"{number}-x", "content": str(number)}
    return Event(did="register", version=number, who="me", why="because", more=more)


def test_what_one_appends_another_reads(url):
    one, other = Log(Store(url)), Log(Store(url))
    for number in range(1, 4):
        one.append(register)
        assert sorted(other.read().versions) == list(range(1, number + 1))
    assert one.events == other.events
    assert all(event.who == "me" and event.why == "because" and event.at for event in other.events)


def test_commands_at_once_lose_no_event(url):
    def go():
        log = Log(Store(url))
        for _ in range(5):
            log.append(register)

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Log(Store(url)).read().versions) == list(range(1, 21))


def test_a_refused_event_is_not_written(url):
    log = Log(Store(url))
    with pytest.raises(UsageError, match="there is no version 4"):
        log.append(lambda _: Event(did="promote", version=4, who="me", why=""))
    assert Store(url).names("log") == []


@pytest.mark.parametrize("change", ["edited", "lost", "cut off"])
def test_a_log_that_was_changed_is_refused(tmp_path, change):
    log = Log(Store(str(tmp_path)))
    for _ in range(3):
        log.append(register)
    second = tmp_path / "log/00000002.json"
    if change == "edited":
        second.write_text(second.read_text().replace('"me"', '"somebody else"'))
    elif change == "lost":
        second.unlink()
    else:
        second.write_text(second.read_text()[:40])
    with pytest.raises(KasautiError, match=r"event [23] of the registry .* Restore that file from a copy"):
        Log(Store(str(tmp_path))).read()


def test_each_event_names_the_hash_of_the_one_before(tmp_path):
    import hashlib

    log = Log(Store(str(tmp_path)))
    for _ in range(2):
        log.append(register)
    first, second = (tmp_path / f"log/0000000{n}.json" for n in (1, 2))
    assert json.loads(second.read_text())["after"] == hashlib.sha256(first.read_bytes()).hexdigest()


def test_a_name_is_given_once(url):
    store = Store(url)
    store.create("a/b", b"first")
    with pytest.raises(FileExistsError):
        store.create("a/b", b"second")
    assert store.read("a/b") == b"first"


def test_a_place_that_cannot_be_opened_is_told_in_one_line():
    with pytest.raises(UsageError, match="nowhere://x: cannot be opened"):
        Store("nowhere://x")


def test_a_registry_that_may_not_be_written_is_told(tmp_path):
    (tmp_path / "log").write_text("in the way")
    with pytest.raises(StorageError):
        Store(str(tmp_path)).create("log/1", b"x")
