"""Both pages are whole HTML documents that load nothing, can be walked without eyes and be read in either light."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kasauti.core.paper.page import breakable, stylesheet
from kasauti.decide.report import render_report
from kasauti.pages.audit import render_audit

TESTS = Path(__file__).parent.parent
VOID = {"meta", "br", "wbr", "link", "img", "hr", "input"}
SHAPES = {"rect", "line", "circle", "path", "stop"}


class Outline(HTMLParser):
    """Walks a page once: the nesting must close, and what structure tests ask about is kept."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.paths: list[tuple[str, ...]] = []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice on {tag}: {names}"
        self.tags.append((tag, dict(attrs)))
        self.paths.append((*self.open, tag))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SHAPES | {"rect"}, f"{tag} cannot close itself"
        self.tags.append((tag, dict(attrs)))
        self.paths.append((*self.open, tag))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def pages() -> dict[str, str]:
    trial = json.loads((TESTS / "decide" / "sample_trial.json").read_text(encoding="utf-8"))
    audit: dict[str, Any] = json.loads((TESTS / "pages" / "sample_audit.json").read_text(encoding="utf-8"))
    return {"report": render_report(trial), "audit": render_audit(audit["findings"], audit["context"])}


@pytest.fixture(scope="module", params=["report", "audit"])
def page(request: pytest.FixtureRequest) -> str:
    return pages()[request.param]


def test_every_element_is_closed_in_its_turn(page: str) -> None:
    assert page.startswith("<!doctype html>")
    Outline(page)


def test_ids_are_unique_and_every_reference_finds_its_own(page: str) -> None:
    outline = Outline(page)
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in outline.tags:
        for target in (attrs.get("aria-labelledby") or "").split():
            assert target in ids
        if (href := attrs.get("href") or "").startswith("#"):
            assert href[1:] in ids


def test_the_page_has_its_landmarks_once_and_headings_without_gaps(page: str) -> None:
    outline = Outline(page)
    for landmark in ("header", "nav", "main", "footer", "h1", "title"):
        found = [path for path in outline.paths if path[-1] == landmark and "svg" not in path]
        assert len(found) == 1, landmark
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_table_has_a_caption_and_scoped_headers(page: str) -> None:
    outline = Outline(page)
    assert len(outline.all("caption")) == len(outline.all("table"))
    assert all(attrs.get("scope") in ("col", "row", "rowgroup") for attrs in outline.all("th"))


def test_every_drawing_is_named_or_hidden_from_readers(page: str) -> None:
    for attrs in Outline(page).all("svg"):
        assert attrs.get("aria-hidden") == "true" or (attrs.get("role") == "img" and attrs.get("aria-labelledby"))


def test_what_scrolls_can_be_reached_by_keyboard(page: str) -> None:
    for attrs in Outline(page).all("div"):
        if attrs.get("class") == "scroll":
            assert (attrs.get("tabindex"), attrs.get("role"), bool(attrs.get("aria-label"))) == ("0", "region", True)


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    outline = Outline(page)
    assert not re.search(r"https?://|//[a-z]|@import|url\((?!#)", page)
    assert not {"script", "link", "iframe", "img", "object", "form"} & {tag for tag, _ in outline.tags}
    assert not [attrs for _, attrs in outline.tags if "src" in attrs or any(name.startswith("on") for name in attrs)]
    assert "default-src 'none'" in page


def test_a_page_is_the_same_each_time_it_is_made() -> None:
    assert pages() == pages()


def test_every_class_of_the_templates_is_in_the_stylesheet(page: str) -> None:
    used = {name for _, attrs in Outline(page).tags for name in (attrs.get("class") or "").split()}
    styled = set(re.findall(r"\.([a-zA-Z][\w-]*)", stylesheet()))
    assert used - styled <= {"body", "figure", "finding", "chosen", "what", "mend", "cell", "bar"}


def test_long_names_may_break_and_stay_text() -> None:
    assert breakable("a_b<i>/c") == "a_<wbr>b&lt;i&gt;/<wbr>c"


# --- contrast ---------------------------------------------------------------------------------------------------

TEXT = [
    ("ink", "paper"), ("muted", "paper"), ("ink", "gold-wash"), ("muted", "gold-wash"), ("gold-text", "gold-wash"),
    ("muted", "raised"), ("ink", "raised"), ("rust-text", "rust-wash"), ("rust-text", "paper"), ("paper", "rust-text"),
    ("ink", "slate-wash"), ("on-stone", "stone"), ("on-stone-muted", "stone"), ("on-stone-muted", "stone-2"),
    ("streak", "stone"),
]  # fmt: skip
MARKS = [("gold", "paper"), ("slate", "paper"), ("rust", "paper")]


def colours(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", stylesheet(), re.DOTALL)[:2]
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    return found | (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark)) if scheme == "dark" else {})


def luminance(colour: str) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("mark", "ground", "least"), [(*pair, 4.5) for pair in TEXT] + [(*pair, 3.0) for pair in MARKS]
)
def test_text_and_marks_stand_out_from_their_ground(scheme: str, mark: str, ground: str, least: float) -> None:
    found = colours(scheme)
    dark, light = sorted((luminance(found[mark]), luminance(found[ground])))
    assert (light + 0.05) / (dark + 0.05) >= least


def test_the_template_engine_is_loaded_only_when_a_page_is_made() -> None:
    code = (
        "import sys, kasauti.decide.report, kasauti.pages.audit; print({'jinja2', 'scipy', 'torch'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
