"""One forward for many requests: to each its own answers, bounded, and nothing that was taken is lost."""

import asyncio
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.serve.engine import Bounds, Closed, Engine, Full, Late


def doubled(rows):
    return [2 * row for row in rows]


class Gate:
    """Answers when it is opened; remembers the batches."""

    def __init__(self):
        self.opened, self.batches = threading.Event(), []

    def __call__(self, rows):
        self.batches.append(list(rows))
        assert self.opened.wait(10)
        return doubled(rows)


def engine_with(answer, **bounds):
    engine = Engine(answer, Bounds(**bounds))
    engine.start()
    return engine


async def until(condition):
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come to that")


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(), min_size=1, max_size=9), max_size=30), st.integers(1, 20))
def test_each_request_gets_the_answers_to_its_own_rows(requests, batch_rows):
    async def go():
        engine = engine_with(doubled, batch_rows=batch_rows)
        answers = await asyncio.gather(*(engine.ask(rows) for rows in requests))
        await engine.drain()
        return answers

    assert asyncio.run(go()) == [doubled(rows) for rows in requests]


def test_what_arrives_during_a_batch_is_the_next_batch():
    async def go():
        gate = Gate()
        engine = engine_with(gate, batch_rows=8)
        first = asyncio.create_task(engine.ask([0]))
        await until(lambda: gate.batches)
        others = [asyncio.create_task(engine.ask([n])) for n in range(1, 11)]
        await until(lambda: engine.waiting == 10)
        gate.opened.set()
        await asyncio.gather(first, *others)
        await engine.drain()
        return gate.batches

    assert asyncio.run(go()) == [[0], [1, 2, 3, 4, 5, 6, 7, 8], [9, 10]]


def test_a_full_queue_says_at_once_when_to_come_back():
    async def go():
        gate = Gate()
        engine = engine_with(gate, queue_rows=4)
        first = asyncio.create_task(engine.ask([0]))
        await until(lambda: gate.batches)
        taken = [asyncio.create_task(engine.ask([n, n])) for n in range(2)]
        await until(lambda: engine.waiting == 4)
        began = time.perf_counter()
        with pytest.raises(Full) as full:
            await engine.ask([9])
        assert time.perf_counter() - began < 0.2
        assert full.value.retry_after >= 1
        gate.opened.set()
        assert await asyncio.gather(first, *taken) == [[0], [0, 0], [2, 2]]
        await engine.drain()

    asyncio.run(go())


def test_a_queue_is_full_when_its_rows_are_expected_to_take_too_long():
    async def go():
        release = threading.Event()

        def slow(rows):
            time.sleep(0.05)
            if rows[0] >= 0:
                release.wait(10)
            return doubled(rows)

        engine = engine_with(slow, queue_seconds=0.12, batch_rows=1)
        await engine.ask([-1])  # from here on a row is expected to take 0.05 s
        taken, turned_away = [], 0
        for n in range(10):
            task = asyncio.create_task(engine.ask([n]))
            await asyncio.sleep(0)
            if task.done():
                with pytest.raises(Full):
                    await task
                turned_away += 1
            else:
                taken.append(task)
        assert 1 <= len(taken) < 10
        assert turned_away == 10 - len(taken)
        release.set()
        await asyncio.gather(*taken)
        await engine.drain()

    asyncio.run(go())


def test_a_late_answer_is_told_and_its_rows_are_not_computed_for_nobody():
    async def go():
        gate = Gate()
        engine = engine_with(gate, seconds=0.1, batch_rows=1)
        with pytest.raises(Late):
            await asyncio.gather(engine.ask([1]), engine.ask([2]))
        await asyncio.sleep(0.15)
        gate.opened.set()
        await engine.drain()
        return gate.batches

    assert asyncio.run(go()) == [[1]]


def test_what_was_taken_is_answered_before_the_end_and_nothing_new_is_taken():
    async def go():
        gate = Gate()
        engine = engine_with(gate, batch_rows=2)
        taken = [asyncio.create_task(engine.ask([n])) for n in range(7)]
        await until(lambda: gate.batches)
        end = asyncio.create_task(engine.drain())
        await asyncio.sleep(0.01)
        with pytest.raises(Closed):
            await engine.ask([9])
        gate.opened.set()
        await end
        return [await task for task in taken]

    assert asyncio.run(go()) == [[2 * n] for n in range(7)]


def test_one_requests_fault_is_not_its_neighbours():
    def picky(rows):
        if 3 in rows:
            raise ValueError("not three")
        return doubled(rows)

    async def go():
        engine = engine_with(picky)
        outcomes = await asyncio.gather(*(engine.ask([n]) for n in range(6)), return_exceptions=True)
        await engine.drain()
        return outcomes

    outcomes = asyncio.run(go())
    assert isinstance(outcomes[3], ValueError)
    assert [outcomes[n] for n in (0, 1, 2, 4, 5)] == [[0], [2], [4], [8], [10]]
