"""An untrained model, held to a schema, writes what satisfies it or is cut; nothing follows the complete text."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from kasauti.core.errors import ModelError
from kasauti.model.constrain import Grammar
from kasauti.model.generate import generate
from kasauti.model.load import load
from kasauti.model.prefix import compute_prefix

FLAT = {
    "type": "object",
    "properties": {"queue": {"enum": ["refund", "card", "धनवापसी"]}, "urgent": {"type": "boolean"}},
    "required": ["queue", "urgent"],
    "additionalProperties": False,
}
SCHEMAS = [
    FLAT,
    {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "minItems": 1, "maxItems": 3},
    {"type": "object", "properties": {"of": FLAT}, "required": ["of"], "additionalProperties": False},
    {"enum": ["yes", "no"]},
]


@pytest.fixture(scope="module")
def loaded(tiny_model):
    return load(str(tiny_model), ".")


def prompts(loaded):
    texts = ["my refund is late", "a card", "the parcel came to another door, and I want to know why it did"]
    beginning = loaded.tokenizer("Answer as JSON.", add_special_tokens=False)["input_ids"]
    return beginning, [beginning + loaded.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("shared", [False, True])
def test_what_ends_satisfies_the_schema(loaded, schema, shared):
    beginning, asked = prompts(loaded)
    end = loaded.tokenizer.eos_token_id
    grammar = Grammar(schema, loaded.tokenizer, [end])
    prefix = compute_prefix(loaded.model, beginning) if shared else None
    made = generate(loaded.model, asked, end_ids=[end], max_new_tokens=150, prefix=prefix, grammar=grammar)
    ended = [loaded.tokenizer.decode(one.ids) for one in made if one.ended]
    assert ended
    for text in ended:
        assert list(Draft202012Validator(schema).iter_errors(json.loads(text))) == []
    alone = [
        generate(loaded.model, [one], end_ids=[end], max_new_tokens=150, prefix=prefix, grammar=grammar)[0]
        for one in asked
    ]
    assert [one.ids for one in alone] == [one.ids for one in made]


def test_a_text_that_is_cut_has_not_ended(loaded):
    _, asked = prompts(loaded)
    end = loaded.tokenizer.eos_token_id
    made = generate(
        loaded.model, asked, end_ids=[end], max_new_tokens=3, grammar=Grammar(FLAT, loaded.tokenizer, [end])
    )
    assert not any(one.ended for one in made)


def test_a_schema_that_no_text_satisfies_is_refused_in_one_line(loaded):
    with pytest.raises(ModelError) as caught:
        Grammar({"type": "string", "pattern": "(?<=a)b"}, loaded.tokenizer, [1])
    assert "\n" not in caught.value.line()
