"""Every chart is well-formed, says its values to those who cannot see it, and keeps user text as text."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.paper import charts, grids
from kasauti.core.paper.svg import NARROW, WIDE, Canvas, Svg, chart, fit, text_width

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert(1)</script> & \"quotes\" 'too'"


def percent(value: float) -> str:
    return f"{value * 100:.1f}%"


def dots(width: int, label: str = "tuned") -> Svg:
    rows = [charts.Dot(label, 0.914, 0.884, 0.938, chosen=True), charts.Dot("majority", 0.133)]
    return charts.dot_plot(rows, width, title="T", says=percent, span=(0, 1), band=(0.89, 0.914), unit="exact match")


def spots(width: int, label: str = "tuned") -> Svg:
    marks = [charts.Spot(label, 0.02, 0.914, 0.884, 0.938, chosen=True), charts.Spot("majority", 0.0, 0.133)]
    edge = [(0, 0.133), (0.02, 0.914)]
    return charts.scatter(
        marks, width, title="T", says_x=str, says_y=percent, x_name="cost", y_name="right", frontier=edge
    )


def curve(width: int, label: str = "tuned") -> Svg:
    one = charts.Series(label, [(100, 0.4), (200, 0.914)], [(0.3, 0.5), (0.88, 0.94)], chosen=True)
    return charts.lines(
        [one], width, title="T", says_x=str, says_y=percent, x_name="rows", y_name="right", marker=(200, "kept")
    )


def heat(width: int, label: str = "tuned") -> Svg:
    return grids.heat_map([label, "other"], [[9, 1, 2], [0, 914, 0]], width, title="T")


def calibration(width: int, label: str = "tuned") -> Svg:
    bins = [grids.Bin(0.5, 0.45, 3, 0.1, 0.8), grids.Bin(0.9, 0.914, 300)]
    return grids.reliability(bins, width, title=label, says=percent)


def bar(width: int, label: str = "tuned") -> Svg:
    return grids.bars(
        [grids.Bar(label, [914, 20]), grids.Bar("other", [0, 0])], width, title="T", parts=["train", "test"]
    )


def lengths(width: int, label: str = "tuned") -> Svg:
    return grids.histogram(
        [0, 10, 20, 30], [5, 914, 2], width, title=label, x_name="tokens", y_name="rows", cut=20, cut_name="cut"
    )


ALL = [dots, spots, curve, heat, calibration, bar, lengths]
Draw = Callable[..., Svg]


def parse(drawing: str) -> ET.Element:
    return ET.fromstring(drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def drawn(drawing: str) -> list[str]:
    return ["".join(node.itertext()) for node in parse(drawing).iter(f"{SVG}text")]


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("draw", ALL)
def test_a_chart_is_well_formed_and_named_for_those_who_cannot_see_it(draw: Draw, width: int) -> None:
    root = parse(draw(width))
    title, desc = root[0], root[1]
    assert (title.tag, desc.tag) == (f"{SVG}title", f"{SVG}desc")
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    assert title.text
    assert desc.text


@pytest.mark.parametrize("draw", [dots, spots, curve])
def test_the_description_holds_the_values(draw: Draw) -> None:
    assert "91.4%" in "".join(parse(draw(WIDE))[1].itertext())


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("draw", ALL)
def test_user_text_stays_text(draw: Draw, width: int) -> None:
    drawing = draw(width, NASTY)
    assert "<script" not in drawing
    parse(drawing)


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("draw", ALL)
def test_nothing_is_drawn_outside_the_paper(draw: Draw, width: int) -> None:
    root = parse(draw(width))
    right, bottom = (float(part) for part in root.get("viewBox", "").split()[2:])
    assert right == width
    for node in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert -1 <= float(node.get(name, 0)) <= right + 1
        for name in ("y", "y1", "y2", "cy"):
            assert -1 <= float(node.get(name, 0)) <= bottom + 1


@pytest.mark.parametrize("draw", ALL)
def test_colours_are_left_to_the_stylesheet(draw: Draw) -> None:
    for node in parse(draw(WIDE)).iter():
        assert not {"fill", "stroke", "style"} & set(node.attrib)


def test_the_same_chart_is_the_same_text_and_another_has_other_ids() -> None:
    assert dots(WIDE) == dots(WIDE)
    assert parse(dots(WIDE))[0].get("id") != parse(dots(NARROW))[0].get("id")
    assert parse(dots(WIDE))[0].get("id") != parse(dots(WIDE, "another"))[0].get("id")


def test_a_confusion_matrix_prints_its_counts_and_a_column_for_no_answer() -> None:
    words = drawn(heat(WIDE))
    assert {"9", "914", "none"} <= set(words)
    assert "tuned answered as no valid answer, 2" in "".join(parse(heat(WIDE))[1].itertext())


def test_a_narrow_confusion_matrix_numbers_its_labels() -> None:
    words = drawn(heat(NARROW))
    assert "tuned" not in "".join(words)
    assert {"1", "2"} <= set(words)


def test_bins_with_few_rows_are_faint_and_off_the_line() -> None:
    root = parse(calibration(368))
    faint = [node for node in root.iter(f"{SVG}circle") if "faint" in node.get("class", "")]
    assert len(faint) == 1
    assert "3 rows" in "".join(faint[0].itertext())
    assert not list(root.iter(f"{SVG}path")), "one bin is no line"


def test_a_histogram_marks_what_is_over_the_limit() -> None:
    over = [node for node in parse(lengths(WIDE)).iter(f"{SVG}rect") if node.get("class") == "bar over"]
    assert ["".join(node.itertext()) for node in over] == ["20 to 30: 2"]


def test_a_histogram_with_a_missing_edge_is_refused() -> None:
    with pytest.raises(ValueError, match="2 bins need 3 edges, not 2"):
        grids.histogram([0, 1], [1, 2], WIDE, title="", x_name="", y_name="")


def test_labels_of_a_scatter_do_not_cover_each_other() -> None:
    near = [charts.Spot(f"approach {i}", 0.02 * (1 + i / 50), 0.9 + i / 200) for i in range(4)]
    root = parse(charts.scatter(near, WIDE, title="T", says_x=str, says_y=percent, x_name="", y_name=""))
    places = [
        (float(node.get("x", 0)), float(node.get("y", 0)))
        for node in root.iter(f"{SVG}text")
        if "approach" in "".join(node.itertext())
    ]
    assert len(set(places)) == len(near)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.text(max_size=40), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), max_size=8),
    st.sampled_from([WIDE, NARROW]),
)
def test_any_approaches_can_be_drawn(rows: list[tuple[str, float, float, float]], width: int) -> None:
    clean = [("".join(c for c in name if c.isprintable()), *sorted(values)) for name, *values in rows]
    parse(charts.dot_plot([charts.Dot(n, v, low, high) for n, low, v, high in clean], width, title="T", says=percent))
    spots = [charts.Spot(n, low * 10, v) for n, low, v, _ in clean]
    parse(charts.scatter(spots, width, title="T", says_x=str, says_y=percent, x_name="", y_name=""))


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=60), st.floats(20, 400))
def test_a_fitted_text_is_no_wider_than_its_room(words: str, width: float) -> None:
    short = fit(words, width)
    assert text_width(short) <= width or short == "…"
    assert short == words or "…" in short


def test_a_shortened_label_keeps_both_of_its_ends() -> None:
    short = fit("payment_failed_insufficient_funds", 150)
    assert short.startswith("payment")
    assert short.endswith("funds")


def test_a_canvas_refuses_nothing_and_draws_no_line_of_one_point() -> None:
    canvas = Canvas(10, 10, title="T", desc="D")
    canvas.path([(1, 1)], "curve")
    assert "<path" not in canvas.done()


def test_a_chart_is_drawn_for_a_page_and_for_a_phone() -> None:
    both = chart("Title", dots, note="Note", key=["a"])
    assert (f'width="{WIDE}"' in both.wide, f'width="{NARROW}"' in (both.narrow or "")) == (True, True)
