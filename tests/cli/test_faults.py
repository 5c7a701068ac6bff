"""Exceptions as one line and an exit code."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.cli.faults import fault_of
from kasauti.core.errors import DataError, SupervisionError


def test_an_error_on_purpose_keeps_its_code_and_its_parts():
    fault = fault_of(DataError("no such file", where="a.csv", mend="Check the path."))
    assert (fault.exit_code, fault.line) == (2, "a.csv: no such file. Check the path.")
    assert fault.document()["error"]["where"] == "a.csv"
    assert fault_of(SupervisionError("wrong")).exit_code == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EPERM])
def test_a_disk_that_refuses_is_told_wherever_it_comes_up(number):
    try:
        try:
            raise OSError(number, "refused", "/data/x")
        except OSError as error:
            raise RuntimeError("while saving") from error
    except RuntimeError as error:
        fault = fault_of(error)
    assert fault.exit_code == 2
    assert fault.line.startswith("/data/x: ")


def test_a_full_disk_is_known_by_what_libraries_say_of_it():
    fault = fault_of(RuntimeError('Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "…" })'))
    assert (fault.exit_code, fault.what) == (2, "No space left on device")


def test_other_faults_of_the_system_are_faults_of_the_program():
    assert fault_of(ConnectionResetError("gone")).exit_code == 1


def test_too_little_memory_names_the_settings_that_need_less():
    assert "train.micro_batch" in fault_of(MemoryError()).line


@given(st.text(max_size=200))
def test_whatever_the_message_the_fault_is_one_line(text):
    for error in (ValueError(text), DataError(text, where=text, mend=text), OSError(text), Exception()):
        assert len(fault_of(error).line.splitlines()) <= 1
