"""Progress lines, bars and tables."""

import io

import pytest

from kasauti.cli.draw import Draw, duration, percent, size, table


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def drawn():
    stream, clock = io.StringIO(), Clock()
    return Draw(stream, clock), stream, clock


def test_elsewhere_a_stage_is_told_at_most_every_ten_seconds_and_at_its_end(drawn):
    draw, stream, clock = drawn
    for done in range(101):
        clock.now = done / 4  # 25 seconds in all
        draw("train", done, 100, f"loss {done}")
    lines = stream.getvalue().splitlines()
    assert lines == [
        "kasauti: train 40/100 (40%, 0:15 left)  loss 40",
        "kasauti: train 80/100 (80%, 0:05 left)  loss 80",
        "kasauti: train 100/100 (100%)  loss 100",
    ]


def test_figures_are_told_in_words_and_in_their_order(drawn):
    draw, stream, _ = drawn
    draw("train", 9, 9, {"tokens_per_second": 5230.4, "loss": 0.41234, "validation_accuracy": 0.8125, "other": 1.0})
    assert stream.getvalue() == "kasauti: train 9/9 (100%)  loss 0.412, accuracy 81.2%, tokens/s 5,230\n"


def test_on_a_terminal_the_newest_figures_stand_under_the_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with Draw(stream) as draw:
        draw("train", 1, 9, {"loss": 2.5, "share_of_limit": 0.34})
        draw("train", 2, 9, {"loss": 1.25, "share_of_limit": 0.35})
    shown = stream.getvalue()
    assert "2/9" in shown
    assert "1.250" in shown
    assert "of this machine's limit" in shown
    assert "35%" in shown


def test_two_stages_do_not_silence_each_other(drawn):
    draw, stream, clock = drawn
    draw("a", 0, 9)
    draw("b", 0, 9)
    clock.now = 11.0
    draw("a", 3, 9)
    draw("b", 4, 9)
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["a", "b"]


def test_a_stage_of_one_step_is_not_told(drawn):
    draw, stream, _ = drawn
    for _ in range(50):
        draw("answer", 1, 1)
    assert stream.getvalue() == ""


def test_a_stage_that_comes_again_and_again_is_not_told_each_time(drawn):
    draw, stream, clock = drawn
    for _ in range(50):
        draw("answer", 0, 256)
        clock.now += 0.1
        draw("answer", 256, 256)
    assert len(stream.getvalue().splitlines()) == 1


def test_a_terminal_gets_bars_which_end_with_the_command():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with Draw(stream) as draw:
        draw("train [1/2]", 0, 20)
        draw("train [1/2]", 20, 20)
        draw("train [1/2]", 2, 10)  # the stage begins again
        draw("train [1/2]", 10, 10, "[red]loss[/red] 0.5")
    shown = stream.getvalue()
    assert "train [1/2]" in shown
    assert "[red]loss" in shown
    assert "10/10" in shown


def test_a_stream_that_is_gone_does_not_stop_the_work():
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    Draw(Broken())("train", 10, 10)


def test_a_table_shows_every_cell_and_takes_nothing_for_markup(monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    lines = table(("name", "what"), [("[bold]x", "लंबा वाक्य " * 16), ("y", 3)])
    text = "\n".join(lines)
    assert "[bold]x" in text
    assert text.count("वाक्य") == 16
    assert all(lines)
    assert len(lines) > 4


@pytest.mark.parametrize(("seconds", "told"), [(0.25, "250 ms"), (42, "42 s"), (700, "12 min"), (9000, "2.5 h")])
def test_durations_read_as_a_person_would_say_them(seconds, told):
    assert duration(seconds) == told


def test_sizes_and_shares():
    assert (size(12_300_000), size(3_400_000_000)) == ("12 MB", "3.4 GB")
    assert (percent(0.1234), percent(None), percent(0.5, 0)) == ("12.3%", "–", "50%")
