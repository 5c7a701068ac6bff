"""Templates and stylesheet → one self-contained page.

Walks in: a folder of templates, the name of one, and its values. Walks out: HTML with the stylesheet inside it and no
address of anything outside. It does not know what the page says. Every value is escaped by the template engine unless
it is markup of our own (`Svg`), and a value that a template forgets to guard is an error, not an empty spot.
"""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kasauti.core.paper import words
from kasauti.core.paper.svg import Svg

_HERE = Path(__file__).parent

if TYPE_CHECKING:
    import jinja2

FILTERS = (
    words.percent,
    words.fraction,
    words.points,
    words.count,
    words.money,
    words.milliseconds,
    words.duration,
    words.p_value,
    words.interval,
    words.points_interval,
    words.times,
    words.when,
    words.plural,
    words.ordinary,
    words.clip,
)
"""Every function of `words` that templates may use, under its own name."""


def render(folder: Path, template: str, **values: Any) -> str:
    """A page from a template of `folder`, which may extend `frame.html` and import `parts.html` of this room.

    Raises:
        jinja2.UndefinedError: the template names a value that was not handed in.
    """
    return _room(folder).get_template(template).render(style=stylesheet(), **values)


@cache
def _room(folder: Path) -> jinja2.Environment:
    """The engine for a folder of templates; kept, as compiling them takes longer than filling them in."""
    import jinja2  # 0.1 s; not every command makes a page

    loader = jinja2.FileSystemLoader([folder, _HERE])
    room = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    room.filters.update({function.__name__: function for function in (*FILTERS, breakable)})
    return room


def breakable(text: Any) -> Svg:
    """A name in which a line may break after each underscore and slash: label names are long, phones are not."""
    return Svg(escape(words.MISSING if text is None else str(text)).replace("_", "_<wbr>").replace("/", "/<wbr>"))


def stylesheet() -> str:
    """The one stylesheet of every page."""
    return (_HERE / "style.css").read_text(encoding="utf-8")
