"""Templates that a task may name."""

from __future__ import annotations

import pytest

from kasauti.chat.known import KNOWN, named_template
from kasauti.chat.template import Renderer, freeze
from kasauti.core.errors import TemplateError

TALK = [
    {"role": "system", "content": "Name the category."},
    {"role": "user", "content": "my refund\nis late"},
    {"role": "assistant", "content": "refund"},
    {"role": "user", "content": "and this?"},
]


def test_plain_writes_words_and_special_tokens_only(fresh):
    tokenizer = fresh("mistral_v3")
    texts = Renderer(freeze(tokenizer, named="plain"), tokenizer).texts(TALK, "other")
    assert texts.prompt == "<s>Name the category. my refund is late Answer: refund</s> and this? Answer:"
    assert texts.continuation == " other</s>"


def test_chatml_writes_turns(fresh):
    tokenizer = fresh("qwen2_5")
    texts = Renderer(freeze(tokenizer, named="chatml"), tokenizer).texts(TALK[:2], "other")
    assert texts.prompt == (
        "<|im_start|>system\nName the category.<|im_end|>\n<|im_start|>user\nmy refund\nis late<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert texts.continuation == "other<|im_end|>\n"


def test_chatml_on_a_tokenizer_without_its_tokens_ends_with_end_of_sequence(fresh):
    tokenizer = fresh("mistral_v3")
    texts = Renderer(freeze(tokenizer, named="chatml"), tokenizer).texts(TALK[:2], "other")
    assert texts.prompt.startswith("<s><|im_start|>system")
    assert texts.continuation == "other</s>"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(TemplateError, match="did you mean 'chatml'"):
        named_template("chatlm")
    with pytest.raises(TemplateError, match="known names are chatml, plain"):
        named_template("zzz")


def test_a_file_that_is_absent_empty_or_no_text_is_refused(tmp_path):
    with pytest.raises(TemplateError, match="cannot be read"):
        named_template("absent.jinja", tmp_path)
    (tmp_path / "empty.jinja").write_text(" \n", encoding="utf-8")
    with pytest.raises(TemplateError, match="is empty"):
        named_template("empty.jinja", tmp_path)
    (tmp_path / "bytes.jinja").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(TemplateError, match="cannot be read"):
        named_template("bytes.jinja", tmp_path)


def test_a_file_without_the_usual_ending_is_read_where_it_exists(tmp_path):
    (tmp_path / "template.txt").write_text(KNOWN["plain"], encoding="utf-8")
    assert named_template("template.txt", tmp_path) == KNOWN["plain"]
