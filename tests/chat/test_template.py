"""Freezing: what is found by rendering, what is amended, what is refused, and whether a tokenizer is still the same."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import pytest
from tokenizers import AddedToken

from kasauti.chat.render import fold_system, normal_turns
from kasauti.chat.template import FILE_NAME, FIXED_DATE, KNOWN, FrozenTemplate, Renderer, check_same, freeze
from kasauti.core.errors import StorageError, TemplateError

TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = ["Complaint: paisa wapas nahi aaya", "मेरा पैसा वापस नहीं आया", "  it's\n\n\n done;\t12 ", "👍🏽 ok", "x"]


def own_ids(tokenizer, frozen, messages, **options):
    turns = normal_turns(messages)
    turns = fold_system(turns) if frozen.system == "folded" else turns
    turns += [{"role": "assistant", "content": options.pop("answer")}] if "answer" in options else []
    return tokenizer.apply_chat_template(turns, **frozen.arguments, **options)["input_ids"]


@pytest.mark.parametrize("text", TEXTS)
def test_prompts_are_the_tokenizers_own_to_the_id(tokenizer, talk, text):
    frozen = freeze(tokenizer)
    prompt = Renderer(frozen, tokenizer).render_prompt(talk(text))
    assert prompt == own_ids(tokenizer, frozen, talk(text), add_generation_prompt=True)


@pytest.mark.parametrize("text", TEXTS)
def test_training_is_the_tokenizers_own_rendering_and_begins_with_the_prompt(tokenizer, talk, text):
    frozen = freeze(tokenizer)
    renderer = Renderer(frozen, tokenizer)
    full = renderer.render_training(talk(text), "refund_delayed")
    assert full == own_ids(tokenizer, frozen, talk(text), answer="refund_delayed")
    prompt = renderer.render_prompt(talk(text))
    assert full[: len(prompt)] == prompt


def test_many_prompts_at_once_are_the_same_as_one_by_one(tokenizer, talk):
    renderer = Renderer(freeze(tokenizer), tokenizer)
    batch = [talk(f"complaint {text} </s> {i}") for i, text in enumerate(TEXTS * 4)]
    batch += [talk(f"complaint {i} {text}") for i, text in enumerate(TEXTS * 4)]
    assert renderer.render_prompts(batch) == [renderer.render_prompt(messages) for messages in batch]


@pytest.mark.parametrize(
    ("name", "system", "end", "bos"),
    [
        ("llama3", "own", "<|eot_id|>", "one"),
        ("llama3_2", "own", "<|eot_id|>", "one"),
        ("mistral_v1", "folded", "</s>", "one"),
        ("mistral_v3", "folded", "</s>", "one"),
        ("phi3", "own", "<|end|>", "none"),
        ("gemma", "folded", "<end_of_turn>", "one"),
        ("gemma3", "own", "<end_of_turn>", "one"),
        ("qwen2_5", "own", "<|im_end|>", "none"),
        ("qwen3", "own", "<|im_end|>", "none"),
    ],
)
def test_system_turn_end_of_turn_and_bos_are_found_by_rendering(family, name, system, end, bos):
    frozen = freeze(family(name))
    assert (frozen.system, frozen.frame.end, frozen.bos) == (system, end, bos)
    assert frozen.origin == "tokenizer"
    assert not frozen.amendments
    assert frozen.text == family(name).chat_template


def test_a_space_that_the_tokenizer_writes_by_itself_is_no_part_of_the_answer(family):
    frame = freeze(family("mistral_v2")).frame
    assert (frame.space, frame.shown) == ("", " ")


def test_a_system_text_that_the_template_drops_is_folded_into_the_users(fresh, talk):
    text = TURNS.replace("{{", "{% if m['role'] != 'system' %}{{", 1).replace("{% endfor", "{% endif %}{% endfor", 1)
    tokenizer = fresh("qwen2_5", text)
    frozen = freeze(tokenizer)
    assert frozen.system == "folded"
    assert "user\nRules\n\nHi<|im_end|>" in Renderer(frozen, tokenizer).prompt_text(talk("Hi", "Rules"))[0]


def test_todays_date_is_fixed(family, talk, monkeypatch, fresh):
    plain = fresh("qwen2_5", "{{ strftime_now('%Y-%m-%d (%A)') }} " + TURNS)
    for tokenizer in (family("llama3_2"), plain):
        frozen = freeze(tokenizer)
        before = Renderer(frozen, tokenizer).render_prompt(talk("Hi"))

        class Later(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls(2031, 1, 2)

        monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Later)
        changed = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
        assert "2031" in changed
        assert Renderer(frozen, tokenizer).render_prompt(talk("Hi")) == before
        check_same(frozen, tokenizer)
        monkeypatch.undo()
    assert freeze(family("llama3_2")).arguments == {"date_string": FIXED_DATE}
    assert Renderer(frozen, plain).prompt_text(talk("Hi"))[0].startswith("2024-07-26 (Friday) <|im_start|>")
    assert frozen.amendments == (f"today's date is fixed at {FIXED_DATE}",)


def test_qwen3_is_asked_and_trained_behind_an_empty_think_block(family, talk):
    tokenizer = family("qwen3")
    frozen = freeze(tokenizer)
    assert frozen.arguments == {"enable_thinking": False}
    texts = Renderer(frozen, tokenizer).texts(talk("Hi"), "other")
    assert texts.prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert texts.continuation == "other<|im_end|>\n"


def test_what_training_writes_before_an_answer_is_asked_too(family, talk):
    """With thinking on, Qwen3 asks without the block that it trains with."""
    tokenizer = family("qwen3")
    frozen = freeze(tokenizer, arguments={"enable_thinking": True})
    assert frozen.frame.lead == "<think>\n\n</think>\n\n"
    texts = Renderer(frozen, tokenizer).texts(talk("Hi"), "other")
    assert texts.prompt.endswith("</think>\n\n")
    assert texts.continuation == "other<|im_end|>\n"
    assert frozen.sha256 != freeze(tokenizer).sha256


def test_a_block_that_is_written_only_when_asking_is_trained_too(fresh, talk):
    tokenizer = fresh("qwen2_5", TURNS.replace("assistant\n'", "assistant\n<think></think>'"))
    frozen = freeze(tokenizer)
    assert frozen.frame.longer_prompt
    renderer = Renderer(frozen, tokenizer)
    prompt, full = renderer.render_prompt(talk("Hi")), renderer.render_training(talk("Hi"), "other")
    assert full[: len(prompt)] == prompt
    assert renderer.encoder.decode(full[len(prompt) :]) == "other<|im_end|>\n"


def test_a_template_that_ignores_the_request_for_a_prompt_gets_the_header(fresh, talk):
    tokenizer = fresh("qwen2_5", TURNS.partition("{% if add")[0])
    renderer = Renderer(freeze(tokenizer), tokenizer)
    assert renderer.prompt_text(talk("Hi"))[0].endswith("Hi<|im_end|>\n<|im_start|>assistant\n")


def test_a_base_model_without_a_template_is_told_how_to_name_one(fresh):
    with pytest.raises(TemplateError, match=r"chat_template: chatml.*plain.*Jinja file") as caught:
        freeze(fresh("gpt2"))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_named_template_serves_a_tokenizer_without_one(fresh, tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text(TURNS, encoding="utf-8")
    assert freeze(fresh("qwen2_5"), named="mine.jinja", folder=tmp_path).text == TURNS
    assert freeze(fresh("qwen2_5"), named=str(path)).origin == str(path)
    assert freeze(fresh("qwen2_5"), named="chatml").text == KNOWN["chatml"]


def test_a_named_template_beside_the_tokenizers_own_is_refused_unless_they_are_equal(fresh):
    with pytest.raises(TemplateError, match="has its own chat template, and the task names 'chatml'"):
        freeze(fresh("qwen2_5", TURNS), named="chatml")
    assert freeze(fresh("qwen2_5", KNOWN["chatml"]), named="chatml").origin == "chatml"


def test_of_several_templates_the_default_is_taken(fresh):
    assert freeze(fresh("qwen2_5", {"default": TURNS, "tool_use": "x"})).text == TURNS
    with pytest.raises(TemplateError, match="called rag, tool_use and no default"):
        freeze(fresh("qwen2_5", {"rag": "x", "tool_use": "x"}))


def test_without_an_end_of_turn_the_end_of_sequence_token_ends_the_answer(fresh, talk):
    template = "{{ bos_token }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    tokenizer = fresh("mistral_v3", template)
    frozen = freeze(tokenizer)
    assert frozen.frame.appended
    assert frozen.amendments == ("</s> ends an answer, because the template writes no end of turn",)
    texts = Renderer(frozen, tokenizer).texts(talk("Hi"), "other")
    assert (texts.prompt[-11:], texts.continuation) == ("\nassistant:", " other</s>")


def test_without_an_end_of_turn_or_of_sequence_the_template_is_refused(fresh):
    tokenizer = fresh("qwen2_5", "{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}")
    tokenizer.eos_token = None
    with pytest.raises(TemplateError, match=r"no end of turn.*would never stop"):
        freeze(tokenizer)


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{% for m in messages %}{{ m['role'] }}<|im_end|>{% endfor %}", "leaves the user's turn out"),
        (
            "{% for m in messages if m.role == 'user' %}{{ m.content }}<|im_end|>{% endfor %}",
            "leaves the assistant's turn out",
        ),
        (TURNS.replace("assistant\n'", "bot\n'"), "writes another prompt to ask"),
        ("{{ raise_exception('closed') }}", "refuses the conversation user: closed"),
        ("{% for m in messages %}", "refuses the conversation"),
        ("{{ nothing.at.all }}", "refuses the conversation"),
    ],
)
def test_templates_that_cannot_be_used_are_refused(fresh, template, fault):
    with pytest.raises(TemplateError, match=fault):
        freeze(fresh("qwen2_5", template))


def test_a_bos_that_the_tokenizer_is_used_to_is_written_where_the_template_forgets_it(fresh, talk):
    template = TURNS.replace("<|im_start|>", "<|start_header_id|>").replace("<|im_end|>", "<|eot_id|>")
    tokenizer = fresh("llama3", template)
    frozen = freeze(tokenizer)
    assert frozen.bos == "one"
    assert frozen.amendments == ("the tokenizer's BOS is written first",)
    ids = Renderer(frozen, tokenizer).render_prompt(talk("Hi"))
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1
    check_same(frozen, tokenizer)
    tokenizer.chat_template = frozen.text
    check_same(frozen, tokenizer)
    assert freeze(tokenizer).text == frozen.text


def test_two_bos_tokens_are_refused_and_a_bos_that_marks_turns_is_not(fresh):
    with pytest.raises(TemplateError, match=r"writes the BOS <\|begin_of_text\|> 2 times"):
        freeze(fresh("llama3", "{{ bos_token }}{{ bos_token }}" + TURNS.replace("<|im_end|>", "<|eot_id|>")))
    smol = fresh("qwen2_5", TURNS)
    smol.bos_token = "<|im_start|>"
    assert freeze(smol).bos == "turns"
    smol.chat_template = None
    frozen = freeze(smol, named="chatml")
    assert Renderer(frozen, smol).prompt_text([{"role": "user", "content": "Hi"}])[0].startswith("<|im_start|>user")


def test_a_frozen_template_is_loaded_as_it_was_saved(tokenizer, tmp_path):
    frozen = freeze(tokenizer)
    assert frozen.save(tmp_path).name == FILE_NAME
    loaded = FrozenTemplate.load(tmp_path)
    assert loaded == frozen
    assert loaded.sha256 == frozen.sha256
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    check_same(loaded, tokenizer)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document | {"text": document["text"] + " "},
        lambda document: document | {"arguments": {"enable_thinking": True}},
        lambda document: document | {"special_tokens": {"eos_token": "</s>"}},
        lambda document: document | {"format": 9},
        lambda document: {"text": ""},
        lambda document: [],
    ],
)
def test_a_changed_template_file_is_refused(family, tmp_path, change):
    path = freeze(family("qwen3")).save(tmp_path)
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    with pytest.raises(TemplateError, match=r"template.json: (was changed|is no frozen)"):
        FrozenTemplate.load(tmp_path)


def test_a_missing_or_unwritable_template_file_says_where(family, tmp_path):
    with pytest.raises(TemplateError, match="cannot be read"):
        FrozenTemplate.load(tmp_path)
    with pytest.raises(StorageError, match="cannot be written"):
        freeze(family("qwen3")).save(tmp_path / "absent")


def test_a_pad_token_set_later_makes_no_other_tokenizer(fresh, family):
    tokenizer = fresh("llama3", family("llama3").chat_template)
    frozen = freeze(tokenizer)
    tokenizer.pad_token = "<|end_of_text|>"
    check_same(frozen, tokenizer)


def test_another_tokenizer_is_refused_with_what_differs(fresh, family):
    frozen = freeze(family("qwen3"))
    text = family("qwen3").chat_template
    with pytest.raises(TemplateError, match="its chat template is another one"):
        check_same(frozen, family("qwen2_5"))
    with pytest.raises(TemplateError, match="it has no chat template"):
        check_same(frozen, fresh("qwen2_5"))
    other = fresh("qwen2_5", text)
    other.eos_token = "<|endoftext|>"
    with pytest.raises(TemplateError, match=r"its eos_token is '<\|endoftext\|>', not '<\|im_end\|>'"):
        check_same(frozen, other)
    shifted = fresh("gpt2", text)
    shifted.add_special_tokens({"eos_token": "<|im_end|>"})
    with pytest.raises(TemplateError, match=r"<\|im_end\|> has the id|bos_token"):
        check_same(frozen, shifted)


def test_another_vocabulary_behind_the_same_template_is_refused(fresh, family):
    frozen = freeze(family("llama3"))
    other = fresh("llama3", family("llama3").chat_template)
    check_same(frozen, other)
    other.add_tokens([AddedToken("refund", normalized=False)])
    with pytest.raises(TemplateError, match=r"the stored conversation 'Complaint: the refund.*has other ids"):
        check_same(frozen, other)


def test_a_changed_frame_is_found_by_the_probes(family):
    frozen = freeze(family("mistral_v3"))
    with pytest.raises(TemplateError, match="not the one that the adapter was trained with"):
        check_same(replace(frozen, system="own"), family("mistral_v3"))


def test_base_tokenizers_take_the_named_templates(base_tokenizer, tmp_path):
    for named in KNOWN:
        frozen = freeze(base_tokenizer, named=named)
        assert frozen.frame.end == "</s>"
        assert (frozen.system, frozen.bos) == ("own", "one")
        check_same(frozen, base_tokenizer)
    with pytest.raises(TemplateError, match="has no chat template"):
        freeze(base_tokenizer)
