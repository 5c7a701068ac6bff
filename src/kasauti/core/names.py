"""The nearest valid name, for errors about a name that is not known.

Walks in: the name that was written and the names there are. Walks out: a sentence for an error's `mend`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection

SHOWN = 30
"""Names that an error lists before it says `…`."""


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that reads most like `name`, or None; capitals, `_` and `-` do not count."""
    folded = {_fold(k): k for k in sorted(known, reverse=True)}
    found = difflib.get_close_matches(_fold(name), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def suggestion(name: str, known: Collection[str]) -> str:
    """`Did you mean 'x'?`, or the names there are where none is near."""
    near = nearest(name, known)
    return f"Did you mean {near!r}?" if near is not None else listing(known)


def listing(known: Collection[str]) -> str:
    """The names there are, the first `SHOWN` of them."""
    names = list(known)
    more = ", …" if len(names) > SHOWN else ""
    return f"Known: {', '.join(map(repr, names[:SHOWN]))}{more}."


def _fold(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
