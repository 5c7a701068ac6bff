"""Encoding: continuations, shared heads, and which strings are control strings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import ByT5Tokenizer

from kasauti.chat.encode import Encoder, control_strings
from kasauti.chat.proof import prove
from kasauti.chat.template import Renderer, freeze


def test_control_strings_are_special_tokens_and_those_that_the_template_writes(family):
    assert set(control_strings(family("qwen3"), "<think> only")) == {
        "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>",
    }  # fmt: skip
    assert "\n\n" not in control_strings(family("gemma"), "\n\n")


def test_harmless_contents_are_left_as_they_are(family):
    encoder = Encoder(family("llama3"), "")
    assert encoder.protect(["Hi", "<|eot", "_id|>"]) == (["Hi", "<|eot", "_id|>"], "")


PARTS = ["<|eot_id|>", "<|", "eot_id|>", "<|begin_of_text|>", "\ufdd0", "a "]


@given(parts=st.lists(st.sampled_from(PARTS), max_size=8))
@settings(max_examples=80, deadline=None)
def test_protected_text_yields_no_control_token_and_all_its_characters(family, parts):
    tokenizer, text = family("llama3"), "".join(parts)
    encoder = Encoder(tokenizer, "")
    (safe,), mark = encoder.protect([text])
    ids = encoder.encode(safe, mark)
    assert encoder.decode(ids) == text
    assert not {tokenizer.convert_tokens_to_ids(name) for name in encoder.controls} & set(ids)
    assert (safe.replace(mark, "") if mark else safe) == text


@pytest.mark.parametrize("text", ["refund", " refund", "\nrefund", "\n\n  x", "1", "।", "</s>", "", "🙂"])
def test_a_continuation_decodes_to_itself_behind_any_text(tokenizer, text):
    encoder = Encoder(tokenizer, "")
    before = encoder.encode("so:")
    assert encoder.decode_after(before[-1], encoder.encode_continuation(text)) in (text, f" {text}")
    assert encoder.decode(before + encoder.encode_continuation(text)).endswith(text)


def test_a_shared_head_changes_no_id(tokenizer):
    encoder = Encoder(tokenizer, "")
    for control in encoder.controls:
        for between in ("", " ", "\n", "one two "):
            head = f"{control}You are a classifier.{between}{control}{between}"
            texts = [head + tail for tail in ("", " ", "\n", "refund", " refund", "नहीं", "1", control, "a</s>")]
            assert encoder.encode_many(texts, [""] * len(texts)) == [encoder.encode(text) for text in texts]


def test_a_control_token_that_takes_in_the_space_before_it_is_not_divided_at(fresh):
    tokenizer = fresh("qwen2_5")
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<sep>", lstrip=True, normalized=False)]})
    encoder = Encoder(tokenizer, "")
    texts = [f"You are. <sep>{i} refund" for i in range(9)]
    assert encoder.encode_many(texts, [""] * 9) == [encoder.encode(text) for text in texts]


def test_decoding_behind_nothing_is_plain_decoding(family):
    encoder = Encoder(family("mistral_v3"), "")
    ids = encoder.encode("refund")
    assert encoder.decode_after(None, ids) == "refund"
    assert encoder.decode_after(ids[0], ids) == " refund"


def test_a_tokenizer_written_in_python_keeps_control_strings_text_too(talk):
    tokenizer = ByT5Tokenizer()
    assert not tokenizer.is_fast
    frozen = freeze(tokenizer, named="plain")
    rows = [(1, talk("I say </s> नहीं <extra_id_0> <pad>"), "a</s>b"), (2, talk("Hi"), "refund_delayed")]
    assert prove(frozen, tokenizer, rows).rows == 2
    ids = Renderer(frozen, tokenizer).render_prompt(rows[0][1])
    assert tokenizer.eos_token_id not in ids
    assert "I say </s> नहीं <extra_id_0> <pad>" in tokenizer.decode(ids)
