"""Rendering and parsing: roles, control strings in a user's text, shortening, and the way back to an answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.chat.render import GAP, Renderer, normal_role, normal_turns, shorten
from kasauti.chat.template import freeze
from kasauti.core.errors import SupervisionError, TemplateError
from kasauti.core.types import Message

HOSTILE = ["<|eot_id|>", "</s>", "[INST]", "[/INST]", "<|im_end|>", "<|end|>", "<end_of_turn>", "<bos>", "<think>"]


@pytest.mark.parametrize(
    ("role", "normal"),
    [("human", "user"), ("User", "user"), ("gpt", "assistant"), ("model", "assistant"), ("bot", "assistant")],
)
def test_roles_of_other_formats_are_understood(role, normal):
    assert normal_role(role) == normal


def test_sharegpt_turns_render_as_the_same_conversation(tokenizer):
    renderer = Renderer(freeze(tokenizer), tokenizer)
    foreign = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "yes"}, {"from": "human", "value": "And?"}]
    normal = [Message(role="user", content="Hi"), Message(role="assistant", content="yes")]
    assert renderer.render_prompt(foreign) == renderer.render_prompt([*normal, Message(role="user", content="And?")])


def test_an_unknown_role_is_an_error_although_the_template_would_ignore_it(family):
    tokenizer = family("phi3")
    messages = [{"role": "customer", "content": "Hi"}, {"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False)  # Phi-3 drops the turn without a word
    with pytest.raises(TemplateError, match="role 'customer' is unknown"):
        Renderer(freeze(tokenizer), tokenizer).render_prompt(messages)


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([], "is empty"),
        ([{"role": "system", "content": "x"}], "ends with the system's turn"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "ends with the assistant's turn"),
        ([{"role": "user", "content": None}], "is NoneType, not text"),
    ],
)
def test_conversations_that_cannot_be_asked_are_refused(messages, fault):
    with pytest.raises(TemplateError, match=fault):
        normal_turns(messages)


def test_a_template_that_wants_alternating_turns_says_so(family):
    twice = [Message(role="user", content="a"), Message(role="user", content="b")]
    with pytest.raises(TemplateError, match=r"refuses the conversation user/user.*alternat"):
        Renderer(freeze(family("gemma")), family("gemma")).render_prompt(twice)


@pytest.mark.parametrize("text", HOSTILE)
def test_control_strings_in_a_users_text_stay_text(tokenizer, talk, text):
    """Every control token of the rendering is the template's: as many as with harmless texts, and the text is kept."""
    renderer = Renderer(freeze(tokenizer), tokenizer)
    control = {tokenizer.convert_tokens_to_ids(name) for name in renderer.encoder.controls}
    hostile = f"I say {text}{text} system {text}"

    def controls(system: str, user: str, answer: str) -> list[int]:
        ids = renderer.render_training(talk(user, system), answer)
        return [token for token in ids if token in control]

    assert controls(hostile, hostile, hostile) == controls("be kind", "I say hello", "other")
    decoded = renderer.encoder.decode(renderer.render_prompt(talk(hostile)))
    assert hostile in decoded
    assert renderer.encoder.decode(renderer.render_training(talk("x"), hostile)).count(hostile) == 1


def test_the_safe_path_changes_the_ids_of_nothing_but_the_control_string(family, talk):
    tokenizer = family("llama3")
    renderer = Renderer(freeze(tokenizer), tokenizer)
    eot = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    safe = renderer.render_prompt(talk("my refund <|eot_id|> is late"))
    text = renderer.prompt_text(talk("my refund @ is late"))[0].replace("@", "<|eot_id|>")
    unsafe = tokenizer.encode(text, add_special_tokens=False)
    assert unsafe.count(eot) == safe.count(eot) + 1
    at = next(i for i, (a, b) in enumerate(zip(safe, unsafe, strict=False)) if a != b)
    assert unsafe[at] == eot
    assert safe[-len(unsafe) + at + 1 :] == unsafe[at + 1 :]


def test_nested_control_strings_and_noncharacters_are_text_too(family, talk):
    tokenizer = family("qwen3")
    renderer = Renderer(freeze(tokenizer), tokenizer)
    text = "\ufdd0<|im_<|im_end|>end|> <<think>>\ufdd1"
    ids = renderer.render_prompt(talk(text))
    assert text in renderer.encoder.decode(ids)
    assert ids.count(tokenizer.eos_token_id) == 2
    every = "".join(chr(code) for code in range(0xFDD0, 0xFDF0)) + "</think>"
    with pytest.raises(TemplateError, match="noncharacters"):
        renderer.render_prompt(talk(every))


def test_a_control_token_of_one_character_cannot_be_made_text(fresh, family, talk):
    tokenizer = fresh("qwen3", family("qwen3").chat_template)
    tokenizer.add_special_tokens({"additional_special_tokens": ["§"]})
    renderer = Renderer(freeze(tokenizer), tokenizer)
    with pytest.raises(TemplateError, match="the character '§' is a control token"):
        renderer.render_prompt(talk("see § 12"))


def test_an_answer_that_the_template_would_act_on_is_trained_as_it_is(family, talk):
    """Qwen3 divides an assistant's turn at </think>; a marked text is not divided."""
    renderer = Renderer(freeze(family("qwen3")), family("qwen3"))
    prompt, full = renderer.render_prompt(talk("x")), renderer.render_training(talk("x"), "a</think>b")
    assert renderer.parse_answer(full[len(prompt) :]) == "a</think>b"


@pytest.mark.parametrize("answer", ["refund_delayed", "x", "मेरा पैसा", "it's   done\n\n  now", "</s> <|im_end|>"])
def test_parsing_is_the_inverse_of_rendering(tokenizer, talk, answer):
    renderer = Renderer(freeze(tokenizer), tokenizer)
    prompt, full = renderer.render_prompt(talk("Hi")), renderer.render_training(talk("Hi"), answer)
    assert renderer.parse_answer(full[len(prompt) :]) == answer


@given(answer=st.text(min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_parsing_is_the_inverse_of_rendering_for_any_text(family, talk, answer):
    for name in ("llama3_2", "mistral_v3", "qwen3"):
        wanted = answer.replace("▁", "") if name == "mistral_v3" else answer
        if not wanted.strip():
            continue
        renderer = Renderer(freeze(family(name)), family(name))
        normal = renderer.tokenizer.backend_tokenizer.normalizer
        wanted = normal.normalize_str(wanted) if normal else wanted
        prompt, full = renderer.render_prompt(talk("Hi")), renderer.render_training(talk("Hi"), wanted)
        parsed = renderer.parse_answer(full[len(prompt) :])
        assert parsed.strip() == wanted.strip()
        assert parsed == wanted or renderer.frozen.frame.trims


def test_generated_text_is_cut_at_the_end_of_the_turn(tokenizer):
    renderer = Renderer(freeze(tokenizer), tokenizer)
    frame = renderer.frozen.frame
    assert renderer.parse_answer(f"{frame.shown}refund{frame.gap}{frame.end}\nand then") == "refund"
    assert renderer.parse_answer("refund") == "refund"
    assert renderer.parse_answer(f"refund{tokenizer.eos_token}") == "refund"
    assert frame.end_id in renderer.stop_ids
    assert tokenizer.eos_token_id in renderer.stop_ids


def test_ids_without_an_end_are_all_answer(tokenizer, talk):
    renderer = Renderer(freeze(tokenizer), tokenizer)
    prompt, full = renderer.render_prompt(talk("Hi")), renderer.render_training(talk("Hi"), "refund delayed")
    ids = full[len(prompt) : full.index(renderer.frozen.frame.end_id, len(prompt))]
    assert renderer.parse_answer(ids) == "refund delayed"
    assert renderer.parse_answer([]) == ""


def test_an_answer_that_cannot_be_spelled_is_read_back_among_the_possible_ones(base_tokenizer, talk):
    renderer = Renderer(freeze(base_tokenizer, named="plain"), base_tokenizer)
    answers = ["refund_delayed", "other", "card_arrival"]
    for answer in answers:
        ids = renderer.render_training(talk("Hi"), answer)[len(renderer.render_prompt(talk("Hi"))) :]
        assert renderer.parse_answer(ids, answers=answers) == answer
    alike = ["a_b", "a#b"]
    if "<unk>" in renderer.spelled("a_b"):
        assert renderer.parse_answer(renderer.spelled("a_b"), answers=alike) == "a<unk>b"


def test_an_empty_answer_is_refused(family, talk):
    with pytest.raises(SupervisionError, match="the answer is empty"):
        Renderer(freeze(family("llama3")), family("llama3")).texts(talk("Hi"), " \n")


def test_a_user_text_that_the_template_leaves_out_is_refused(fresh, talk):
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'][:30] + '<|im_end|>\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    tokenizer = fresh("qwen2_5", template)
    renderer = Renderer(freeze(tokenizer), tokenizer)
    assert renderer.texts(talk("short"), "other")
    with pytest.raises(SupervisionError, match=r"leaves the user's text.*out of the prompt"):
        renderer.texts(talk("long " * 20), "other")
    with pytest.raises(SupervisionError, match="does not write the answer"):
        renderer.texts(talk("short"), "long " * 20)


def test_a_long_prompt_loses_the_middle_of_the_users_text_only(tokenizer, talk):
    renderer = Renderer(freeze(tokenizer), tokenizer)
    text = "Complaint begins. " + "the bank says again " * 80 + "Complaint ends."
    limit = len(renderer.render_prompt(talk(text))) // 2
    messages, removed = renderer.fit(talk(text), limit)
    short = messages[-1].content
    assert messages[0] == talk(text)[0]
    assert short.startswith("Complaint begins.")
    assert short.endswith("Complaint ends.")
    assert len(text) - removed == len(short) - len(GAP)
    ids = renderer.render_prompt(talk(text), limit=limit)
    assert limit - 8 <= len(ids) <= limit
    assert ids == renderer.render_prompt(messages)
    assert renderer.fit(talk(text), 5000) == (talk(text), 0)


def test_instructions_are_never_cut(family, talk):
    renderer = Renderer(freeze(family("llama3")), family("llama3"))
    with pytest.raises(SupervisionError, match=r"prompt has \d+ tokens, and 40 are allowed"):
        renderer.fit(talk("my refund " * 30, "instructions " * 60), 40)


@given(text=st.text(min_size=30, max_size=80), keep=st.integers(2, 20))
def test_shortening_keeps_both_ends_and_no_sign_stands_alone(text, keep):
    head, _, tail = shorten(text, keep).partition(GAP)
    assert text.startswith(head)
    assert text.endswith(tail)
    assert shorten("कि" * 20, 5).partition(GAP)[2].startswith("क")
