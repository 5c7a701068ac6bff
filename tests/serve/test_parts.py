"""Keys, limits, and bodies that become rows."""

import asyncio
import json
import stat

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kasauti.core.errors import UsageError
from kasauti.core.task import load_task
from kasauti.core.types import fill
from kasauti.serve.asked import MOST_ROWS, parse, read_back, row_of_conversation, rows_of
from kasauti.serve.keys import Keys, Role
from kasauti.serve.limits import READ_ON, Rate, TooLarge, TooSlow, read_body
from kasauti.serve.problems import Problem
from kasauti.serve.served import place_of


@pytest.fixture
def task(make_task):
    return load_task(make_task(rows=30, test=6))


def test_a_key_is_known_by_its_hash_and_shown_once(tmp_path):
    path = tmp_path / "keys.json"
    made = Keys(path).add("shop", "caller")
    keys = Keys(path)
    assert made not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (keys.whose(made).name, keys.whose(made).role) == ("shop", Role.CALLER)
    for wrong in ("", "x", made[:-1], made + "x", made.upper(), "\ud800"):
        assert keys.whose(wrong) is None
    keys.remove("shop")
    assert Keys(path).whose(made) is None


def test_keys_that_cannot_be_are_refused(tmp_path):
    keys = Keys(tmp_path / "keys.json")
    keys.add("a", "operator", 10)
    with pytest.raises(UsageError, match="the name 'a' is taken"):
        keys.add("a", "caller")
    with pytest.raises(UsageError, match="there is no role 'king'"):
        keys.add("b", "king")
    with pytest.raises(UsageError, match="there is no key 'z'"):
        keys.remove("z")
    (tmp_path / "keys.json").write_text('{"keys": [{"name": "a"}]}')
    with pytest.raises(UsageError, match="is no file of keys"):
        Keys(tmp_path / "keys.json")


def test_a_candidate_gets_its_share_of_the_callers_and_always_the_same_ones():
    callers = [f"caller {n}" for n in range(20_000)]
    tried = {caller for caller in callers if place_of(caller, 2) < 5}
    assert abs(len(tried) / len(callers) - 0.05) < 0.005
    assert tried == {caller for caller in callers if place_of(caller, 2) < 5}
    assert len(tried & {caller for caller in callers if place_of(caller, 3) < 5}) < len(tried) / 5


@given(st.lists(st.floats(0, 30), max_size=60), st.floats(6, 600))
def test_nobody_gets_more_than_the_rate_and_a_burst(pauses, per_minute):
    now = 0.0
    rate = Rate(lambda: now)
    let_in = []
    for pause in pauses:
        now += pause
        if rate.wait("me", per_minute) == 0:
            let_in.append(now)
    for at, first in enumerate(let_in):
        for last in range(at, len(let_in)):
            allowed = max(1.0, per_minute / 6) + (let_in[last] - first) * per_minute / 60
            assert last - at + 1 <= allowed + 1e-6


def test_the_wait_that_is_told_is_long_enough_and_callers_do_not_share():
    now = 0.0
    rate = Rate(lambda: now)
    while (wait := rate.wait("me", 60)) == 0:
        pass
    assert rate.wait("you", 60) == 0
    now += wait
    assert rate.wait("me", 60) == 0


def test_a_body_is_kept_up_to_the_bound_and_read_a_little_further():
    taken = []

    async def stream(parts, pause=0.0):
        for part in parts:
            await asyncio.sleep(pause)
            taken.append(part)
            yield part

    assert asyncio.run(read_body(stream([b"ab", b"cd"]), None, 4, 1)) == b"abcd"
    with pytest.raises(TooLarge):
        asyncio.run(read_body(stream([b"ab"]), "5", 4, 1))
    taken.clear()
    with pytest.raises(TooLarge):
        asyncio.run(read_body(stream([b"abc"] * 1000), None, 4, 1))
    assert READ_ON * 4 < 3 * len(taken) <= READ_ON * 4 + 3
    with pytest.raises(TooSlow):
        asyncio.run(read_body(stream([b"a"] * 100, 0.05), None, 1000, 0.1))


def test_a_row_and_a_batch_become_examples(task):
    (asked,), batch = rows_of(task, {"text": "my card", "metadata": {"caller": 7}})
    assert (asked.row.text, asked.row.answer, asked.caller, batch) == ("Complaint: my card", None, "7", False)
    one, other = {"text": "a"}, {"text": "b", "metadata": {"caller": "me"}}
    rows, batch = rows_of(task, {"inputs": [one, other], "metadata": {"caller": "us"}})
    assert ([(asked.row.fields["text"], asked.caller) for asked in rows], batch) == ([("a", "us"), ("b", "me")], True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "column 'text' is missing"),
        ({"txet": "a"}, "there is no column 'txet'. Did you mean 'text'?"),
        ({"text": 7}, "a text is expected, not int"),
        ({"text": None}, "a text is expected, not NoneType"),
        ({"text": "\ud800"}, "the text is no valid Unicode"),
        ({"text": "a", "metadata": [1]}, "`metadata` is an object"),
        ({"inputs": []}, "`inputs` is a list of at least one"),
        ({"inputs": ["a"]}, "inputs[0]: an object"),
        ({"inputs": [{"text": "a"}, {}]}, "inputs[1]: column 'text' is missing"),
        ({"inputs": [{"text": "a"}], "text": "b"}, "beside `inputs`"),
        ({"inputs": [{"text": "a"}] * (MOST_ROWS + 1)}, "send at most 256"),
    ],
)
def test_a_body_that_cannot_be_says_where_and_what(task, body, said):
    with pytest.raises(Problem) as problem:
        rows_of(task, body)
    assert said in problem.value.detail
    assert problem.value.status == (413 if "most" in said else 422)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b"\xff", b'{"a": NaN}', b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}"]
)
def test_what_is_no_json_object_is_refused_without_repeating_it(body):
    with pytest.raises(Problem) as problem:
        parse(body)
    assert problem.value.status == 422
    assert len(problem.value.detail) < 120


templates = st.sampled_from(["{text}", "Complaint: {text}", "{a} / {b}", "A: {a}\nB: {b}\nend", "{{{a}}}", "{a}-{a}"])


@given(templates, st.text(), st.text())
def test_reading_an_input_back_is_the_inverse_of_writing_it(template, one, two):
    assume(not any(mark in one + two for mark in ("/", "\n", "}", "-")))
    fields = {"text": one} if "text" in template else {"a": one, "b": two}
    back = read_back(template, fill(template, fields))
    assert back is not None
    assert fill(template, {**fields, **back}) == fill(template, fields)
    assert all(fields[name] == value for name, value in back.items())


def test_a_long_text_is_read_back_at_once():
    import time

    began = time.perf_counter()
    read_back("A {a} B {b} C {c} D", "A " + " B  C " * 200_000)
    assert time.perf_counter() - began < 2


def test_a_conversation_becomes_the_same_row_however_it_is_written(task):
    plain = rows_of(task, {"text": "my card is blocked"})[0][0].row
    told = {"role": "system", "content": task.instructions}
    for turns in (
        [{"role": "user", "content": "my card is blocked"}],
        [{"role": "user", "content": "Complaint: my card is blocked"}],
        [told, {"role": "user", "content": "Complaint: my card is blocked"}],
        [{"role": "user", "content": [{"type": "text", "text": "my card is blocked"}]}],
    ):
        assert row_of_conversation(task, json.loads(json.dumps(turns))) == plain


@pytest.mark.parametrize(
    "turns",
    [
        None, [], "hello", [7], [{}], [{"role": "user"}], [{"role": "king", "content": "a"}],
        [{"role": "user", "content": [{"type": "image_url"}]}], [{"role": "user", "content": 7}],
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "c"}],
    ],
)  # fmt: skip
def test_a_conversation_that_cannot_be_is_refused(task, turns):
    with pytest.raises(Problem) as problem:
        row_of_conversation(task, turns)
    assert problem.value.status == 422
