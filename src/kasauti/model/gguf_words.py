"""A tokenizer's vocabulary as a GGUF file holds it: tokens, merges, and the name of the rule that splits words.

Walks in: a fast tokenizer with byte-level BPE. Walks out: `Words`, or a refusal that says what cannot be written. It
knows no network.

llama.cpp has the rules that split a text into words compiled in, each under a name. A tokenizer is written under a name
only where its own rule is one of them; another rule would give other tokens, quietly. `Words.caveat` says in which
texts tokens may differ all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kasauti.core.errors import TemplateError

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GAPS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"
_MARKS = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_GAPS}"
_PLAIN = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|DIGITS| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_GAPS}"
_NANO = r" ?[\p{L}\p{M}]+| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]|\s+"

RULES: Mapping[str, tuple[str, bool, str]] = {
    _PLAIN.replace("DIGITS", r"\p{N}"): ("qwen2", False, ""),
    _MARKS: ("qwen35", False, ""),
    _PLAIN.replace("DIGITS", r"\p{N}{1,3}"): ("dbrx", False, ""),
    # "poro-chat" splits less often, and where it does not, no merge of this vocabulary reaches over the border: nothing
    # was ever merged there. It splits more often in one place.
    _NANO: ("poro-chat", False, "two or more white-space characters of which the last is a space, before a word"),
}
"""Pattern of a `Split` → llama.cpp's name of the same rule, whether that name takes whole words that are tokens without
merging, and in which texts the two differ."""
WHOLE_WORDS = {"dbrx": "llama-bpe"}
"""The same rule where whole words that are tokens are taken without merging (`ignore_merges`)."""
_MEND = "Export with --to hf or --to vllm: they keep the tokenizer as it is."


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """A vocabulary, with what a runtime has to know of the chat around it."""

    tokens: tuple[str, ...]
    """Token of every id; the bytes are spelled as GPT-2 spells them."""
    kinds: tuple[int, ...]
    """1 a plain token, 3 a control token, 4 one that was added, 5 no token at all."""
    merges: tuple[str, ...]
    """Two tokens with a space between them, the first merge first."""
    rule: str
    """llama.cpp's name of the rule that splits words."""
    caveat: str
    """In which texts the rule is another one; empty where in none."""
    special: Mapping[str, int]
    """`bos`, `eos`, `eot`, `pad` → id, those that there are."""
    add_bos: bool
    """Whether a runtime puts the BOS before a text by itself."""
    template: str
    """The chat template, Jinja."""


def words_of(tokenizer: Any, *, template: str, end_id: int, add_bos: bool) -> Words:
    """The vocabulary of a fast tokenizer.

    Args:
        template: the chat template to put into the file.
        end_id: the token that ends a turn.
        add_bos: whether the template's own BOS, the first token of every prompt, is left to the runtime.

    Raises:
        TemplateError: no byte-level BPE, or a rule of splitting that llama.cpp does not have.
    """
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    model = raw["model"]
    if model["type"] != "BPE" or model.get("byte_fallback") or not model["vocab"]:
        raise _refused(f"a {model['type']} tokenizer that is no byte-level BPE", tokenizer)
    if raw["normalizer"] is not None and raw["normalizer"].get("type") != "NFC":
        raise _refused(f"a tokenizer that changes texts first ({raw['normalizer'].get('type')})", tokenizer)
    rule, caveat = _rule(raw["pre_tokenizer"], bool(model.get("ignore_merges")), tokenizer)
    if raw["normalizer"] is not None:
        caveat = "; ".join(filter(None, [caveat, "characters that are not in the Unicode form NFC"]))
    by_id = {number: token for token, number in model["vocab"].items()}
    added = {int(one["id"]): one for one in raw["added_tokens"]}
    size = max([*by_id, *added]) + 1
    tokens, kinds = [], []
    for number in range(size):
        if (one := added.get(number)) is not None:
            tokens.append(str(one["content"]))
            kinds.append(3 if one["special"] else 4)
        else:
            tokens.append(by_id.get(number, f"[PAD{number}]"))
            kinds.append(1 if number in by_id else 5)
    special = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id}
    if end_id != tokenizer.eos_token_id:
        special["eot"] = end_id
    merges = [" ".join(pair) if isinstance(pair, list) else str(pair) for pair in model["merges"]]
    return Words(
        tokens=tuple(tokens),
        kinds=tuple(kinds),
        merges=tuple(merges),
        rule=rule,
        caveat=caveat,
        special={name: int(number) for name, number in special.items() if number is not None},
        add_bos=add_bos,
        template=template,
    )


def add_words(writer: Any, words: Words, rows: int) -> None:
    """Put the vocabulary into a GGUF writer.

    Args:
        rows: embeddings of the network; those beyond the vocabulary get a name that no text holds.
    """
    spare = range(len(words.tokens), rows)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words.rule)
    writer.add_token_list([*words.tokens, *(f"[PAD{number}]" for number in spare)])
    writer.add_token_types([*words.kinds, *(5 for _ in spare)])
    writer.add_token_merges(list(words.merges))
    for name, number in words.special.items():
        getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(words.add_bos)
    writer.add_add_eos_token(False)
    writer.add_chat_template(words.template)


def _rule(found: Any, whole_words: bool, tokenizer: Any) -> tuple[str, str]:
    """llama.cpp's name of a pre-tokenizer, and where it differs."""
    steps = found["pretokenizers"] if found and found["type"] == "Sequence" else [found]
    kinds = [step["type"] if step else "none" for step in steps]
    last = steps[-1]
    if kinds[-1] != "ByteLevel" or last.get("add_prefix_space"):
        raise _refused(f"a tokenizer that splits words by {', '.join(kinds)}", tokenizer)
    if kinds == ["ByteLevel"] and last.get("use_regex", True):
        name, takes_whole, caveat = "gpt-2", False, ""
    elif kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and last.get("use_regex", True):
        name, takes_whole, caveat = "smollm", False, ""
    elif kinds == ["Split", "ByteLevel"] and not last.get("use_regex", True):
        pattern = steps[0]["pattern"].get("Regex", "")
        # what is matched is a word; `Removed` turned round is the same where the pattern matches everything
        known = (steps[0]["behavior"], bool(steps[0]["invert"])) in (("Isolated", False), ("Removed", True))
        if pattern not in RULES or not known:
            raise _refused(f"a tokenizer that splits words by {pattern!r}", tokenizer)
        name, takes_whole, caveat = RULES[pattern]
    else:
        raise _refused(f"a tokenizer that splits words by {', '.join(kinds)}", tokenizer)
    if whole_words and not takes_whole:
        if name not in WHOLE_WORDS:
            raise _refused("a tokenizer that takes whole words without merging", tokenizer)
        name = WHOLE_WORDS[name]
    return name, caveat


def _refused(what: str, tokenizer: Any) -> TemplateError:
    where = str(getattr(tokenizer, "name_or_path", "")) or "tokenizer"
    return TemplateError(f"{what} cannot be written as GGUF: llama.cpp has no such rule", where=where, mend=_MEND)
