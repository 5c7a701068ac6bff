"""Under which licence a base model comes.

Walks in: the name in the task file. Walks out: an identifier as the Hub writes them (`apache-2.0`, `llama3.1`), or
`unknown`. It does not judge what the licence allows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kasauti.model.load import BUNDLED, resolve

UNKNOWN = "unknown"


def licence_of(name: str, task_folder: str) -> str:
    """The licence that the model's own card names; `unknown` where it has none or cannot be reached."""
    if name in BUNDLED:
        return "apache-2.0"
    path = Path(resolve(name, task_folder))
    if path.is_dir():
        card = path / "README.md"
        return _from_card(card.read_text("utf-8", "replace")) if card.is_file() else UNKNOWN
    from huggingface_hub import HfApi, try_to_load_from_cache

    cached = try_to_load_from_cache(name, "README.md")
    if isinstance(cached, str):
        return _from_card(Path(cached).read_text("utf-8", "replace"))
    try:
        data = HfApi().model_info(name, timeout=10).card_data
    except Exception:  # no network is no reason to make no version
        return UNKNOWN
    return _named((data.to_dict() if data else {}) or {})


def _from_card(text: str) -> str:
    """From the YAML between the first two lines of dashes."""
    import yaml

    if not text.startswith("---"):
        return UNKNOWN
    head = text.split("\n---", 1)[0].removeprefix("---")
    try:
        found = yaml.safe_load(head)
    except yaml.YAMLError:
        return UNKNOWN
    return _named(found) if isinstance(found, dict) else UNKNOWN


def _named(card: dict[str, Any]) -> str:
    """`license_name` where the licence is `other`."""
    found = card.get("license")
    if found == "other":
        found = card.get("license_name") or found
    return str(found) if isinstance(found, str) and found else UNKNOWN
