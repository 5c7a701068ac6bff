"""Files are whole or absent, and a second command is kept out."""

import errno
import json
import multiprocessing
import os
import stat
import subprocess
import sys

import pytest

from kasauti.core.errors import DataError, StorageError, UsageError
from kasauti.core.files import (
    Lock,
    RunFolder,
    append_line,
    atomic_write,
    content_hash,
    file_hash,
    folder_hash,
    read_json,
    read_json_lines,
    storage_errors,
    write_json,
)


def test_a_written_file_reads_back_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "a.txt"
    atomic_write(path, "नमस्ते\r\n")
    atomic_write(path, "second\n")
    assert path.read_text() == "second\n"
    assert atomic_write(tmp_path / "b", b"\xff").read_bytes() == b"\xff"
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_file_that_may_not_be_replaced_stays_as_it_is(tmp_path):
    path = atomic_write(tmp_path / "a", "first")
    with pytest.raises(FileExistsError):
        atomic_write(path, "second", overwrite=False)
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["a"]
    assert atomic_write(tmp_path / "b", "x", overwrite=False).read_text() == "x"


def test_a_written_file_has_the_permissions_that_others_have(tmp_path):
    (tmp_path / "plain").write_text("")
    path = atomic_write(tmp_path / "a", "x")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    path.chmod(0o600)
    assert stat.S_IMODE(atomic_write(path, "y").stat().st_mode) == 0o600


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line_with_exit_code_2():
    def fill() -> None:
        with storage_errors("/dev/full"), open("/dev/full", "w") as file:
            file.write("x")

    with pytest.raises(StorageError) as caught:
        fill()
    assert "No space left" in str(caught.value)
    assert "Free some space" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_every_fault_of_the_disk_says_what_to_do(number):
    with pytest.raises(StorageError) as caught, storage_errors("out.json"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith("out.json: cannot write: ")
    assert caught.value.mend
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_a_file_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        atomic_write(tmp_path / "file" / "a", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_cannot_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        atomic_write(tmp_path / "a", "x")


def test_lines_appended_by_many_processes_are_all_there(tmp_path):
    path = tmp_path / "lines"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(append_line, [(path, json.dumps({"n": n})) for n in range(40)])
    assert sorted(value["n"] for value in read_json_lines(path)) == list(range(40))


def test_a_line_that_a_kill_cut_short_spoils_no_other(tmp_path):
    path = tmp_path / "lines"
    append_line(path, '{"n": 1}')
    with open(path, "a") as file:
        file.write('{"n": ')
    append_line(path, '{"n": 2}')
    assert read_json_lines(path) == [{"n": 1}, {"n": 2}]
    assert read_json_lines(tmp_path / "none") == []
    with pytest.raises(ValueError, match="one line"):
        append_line(path, "a\nb")


def test_broken_json_names_the_file_and_the_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{\n "a": 1,\n}')
    with pytest.raises(DataError, match=r"a\.json:3: is not valid JSON"):
        read_json(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_json(tmp_path / "none.json")
    path.write_bytes(b"\xff")
    with pytest.raises(DataError, match="UTF-8"):
        read_json(path)


def test_content_hashes_do_not_depend_on_the_order_of_keys():
    assert content_hash({"a": 1, "b": "ü"}) == content_hash({"b": "ü", "a": 1})
    assert content_hash([1, 2]) != content_hash([2, 1])
    assert len(content_hash(None)) == 64


def test_a_folder_hash_sees_names_and_contents_only(tmp_path):
    for name in ("one", "two"):
        atomic_write(tmp_path / name / "sub" / "f", "x")
    assert folder_hash(tmp_path / "one") == folder_hash(tmp_path / "two")
    os.utime(tmp_path / "two" / "sub" / "f", (0, 0))
    assert folder_hash(tmp_path / "one") == folder_hash(tmp_path / "two")
    assert file_hash(tmp_path / "one" / "sub" / "f") == file_hash(tmp_path / "two" / "sub" / "f")
    (tmp_path / "two" / "sub" / "f").rename(tmp_path / "two" / "g")
    assert folder_hash(tmp_path / "one") != folder_hash(tmp_path / "two")
    with pytest.raises(DataError):
        file_hash(tmp_path / "none")


def test_a_run_is_finished_only_once_its_mark_is_there(tmp_path):
    run = RunFolder(tmp_path, "runs", "b").make()
    atomic_write(run.path / "weights", "x")
    assert not run.finished
    with pytest.raises(DataError):
        run.result()
    run.finish({"rows": 3})
    RunFolder(tmp_path, "runs", "a").make()
    assert [(r.id, r.finished) for r in RunFolder.all(tmp_path, "runs")] == [("a", False), ("b", True)]
    assert RunFolder(tmp_path, "runs", "b").result() == {"rows": 3}
    assert RunFolder.all(tmp_path, "trials") == []


def test_json_that_no_other_reader_would_take_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a", {"loss": float("nan")})
    assert not (tmp_path / "a").exists()


HOLD = """
import sys, time
from kasauti.core.files import Lock
with Lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_names_the_process_that_holds_it_and_ends_with_it(tmp_path):
    path = tmp_path / ".kasauti" / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"process {holder.pid}"), Lock(path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with Lock(path):
        assert path.read_text() == f"{os.getpid()}\n"
    with Lock(path):
        pass
