"""Ids and labels: what is taught is the answer and its end, on every template, and an answer is never cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.chat.render import GAP, Renderer
from kasauti.chat.supervise import IGNORED, supervise, supervise_rows
from kasauti.chat.template import freeze
from kasauti.core.errors import SupervisionError, TemplateError
from kasauti.core.types import Message, Supervised

ANSWERS = ["refund_delayed", "x", "\n0", " 0 ", "yes", "मेरा पैसा वापस", "    return total\n\n    # done", "a</s>b"]


def taught(made: Supervised) -> list[int]:
    return [label for label in made.labels if label != IGNORED]


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_answer_and_its_end_are_supervised_and_nothing_else(tokenizer, talk, answer):
    frozen = freeze(tokenizer)
    made = supervise(frozen, tokenizer, talk("Complaint: paisa nahi aaya"), answer)
    renderer, frame = Renderer(frozen, tokenizer), frozen.frame
    run = taught(made)
    assert run[-1] == frame.end_id
    assert run.count(frame.end_id) == 1
    text = renderer.encoder.decode_after(made.ids[made.prefix_length - 1], run)
    inner = text.removeprefix(frame.shown).removesuffix(frame.gap + frame.end)
    assert inner == answer or (frame.trims and inner.strip() == answer.strip())
    assert renderer.parse_answer(run) == inner
    assert made.ids[: made.prefix_length] == tuple(renderer.render_prompt(talk("Complaint: paisa nahi aaya")))
    assert set(made.labels[: made.prefix_length]) == {IGNORED}
    behind = made.prefix_length + len(run)
    assert set(made.labels[behind:]) <= {IGNORED}
    assert len(made.ids) == len(made.labels)


def test_what_follows_the_end_of_the_turn_is_kept_and_not_supervised(family, talk):
    tokenizer = family("phi3")
    made = supervise(freeze(tokenizer), tokenizer, talk("Hi"), "other")
    assert taught(made)[-1] == tokenizer.convert_tokens_to_ids("<|end|>")
    assert made.ids[-1] == tokenizer.eos_token_id
    assert made.labels[-1] == IGNORED


def test_a_label_of_one_token_is_supervised(fresh, family, talk):
    tokenizer = fresh("qwen2_5", family("qwen2_5").chat_template)
    tokenizer.add_tokens(["refund_delayed"])
    made = supervise(freeze(tokenizer), tokenizer, talk("Hi"), "refund_delayed")
    assert len(taught(made)) == 2
    assert taught(made)[0] == tokenizer.convert_tokens_to_ids("refund_delayed")


def test_a_prompt_of_one_token_is_enough(fresh):
    template = "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}<|im_end|>{% endif %}{% endfor %}"
    tokenizer = fresh("qwen2_5", template)
    made = supervise(freeze(tokenizer), tokenizer, [{"role": "user", "content": "?"}], "yes")
    assert made.prefix_length == 1
    assert made.labels[0] == IGNORED


@pytest.mark.parametrize("answer", ["\n\nrefund", "   indented", "refund"])
def test_where_a_token_would_reach_over_the_border_the_border_is_kept(fresh, talk, answer):
    """The prompt ends in a newline or a space that the tokenizer joins to what follows."""
    for ending in ("\n", "Answer: ", "Answer:\n\n"):
        template = "{% for m in messages %}{{ m['content'] }}" + ending + "{% endfor %}"
        for name in ("gpt2", "mistral_v3"):
            tokenizer = fresh(name, template)
            frozen = freeze(tokenizer)
            renderer = Renderer(frozen, tokenizer)
            made = supervise(frozen, tokenizer, talk("Hi"), answer)
            assert made.ids[: made.prefix_length] == tuple(renderer.render_prompt(talk("Hi")))
            assert renderer.parse_answer(taught(made)) == answer
            assert taught(made)[-1] == tokenizer.eos_token_id


def test_the_border_was_really_merged(fresh, talk):
    """Without the care taken, the prompt would not be the beginning of the whole."""
    tokenizer = fresh("mistral_v3", "{% for m in messages %}{{ m['content'] }}Answer: {% endfor %}")
    text = Renderer(freeze(tokenizer), tokenizer).prompt_text(talk("Hi"))[0]
    prompt = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.encode(text + "refund", add_special_tokens=False)[: len(prompt)] != prompt


@given(
    user=st.text(max_size=60),
    answer=st.text(min_size=1, max_size=40).filter(lambda text: text.strip() and "▁" not in text),
)
@settings(max_examples=30, deadline=None)
def test_supervised_tokens_are_the_answer_and_its_end_for_any_text(tokenizer, talk, user, answer):
    frozen = freeze(tokenizer)
    renderer = Renderer(frozen, tokenizer)
    normal = tokenizer.backend_tokenizer.normalizer
    answer = normal.normalize_str(answer) if normal else answer
    made = supervise(frozen, tokenizer, talk(user), answer)
    run, frame = taught(made), frozen.frame
    text = renderer.encoder.decode_after(made.ids[made.prefix_length - 1], run)
    assert text.startswith(frame.shown)
    assert text.endswith(frame.gap + frame.end)
    inner = text[len(frame.shown) : len(text) - len(frame.gap + frame.end)]
    assert inner == answer or (frame.trims and inner.strip() == answer.strip())
    assert tuple(renderer.render_prompt(talk(user))) == made.ids[: made.prefix_length]


def test_one_bos_and_at_the_start(tokenizer, talk):
    frozen = freeze(tokenizer)
    made = supervise(frozen, tokenizer, talk("Hi <s> <bos> <|begin_of_text|>"), "other")
    if frozen.bos == "one":
        assert made.ids[0] == tokenizer.bos_token_id
    assert made.ids.count(tokenizer.bos_token_id) == (frozen.bos == "one")


def test_long_inputs_are_shortened_in_the_middle_and_flagged(tokenizer, talk):
    frozen = freeze(tokenizer)
    text = "Complaint begins. " + "the bank says again " * 60 + "Complaint ends."
    whole = supervise(frozen, tokenizer, talk(text), "refund_delayed")
    limit = len(whole.ids) - 30
    made = supervise(frozen, tokenizer, talk(text), "refund_delayed", limit)
    assert len(made.ids) <= limit
    assert taught(made) == taught(whole)
    assert (whole.removed, whole.messages) == (0, ())
    assert made.removed > 0
    assert GAP in made.messages[-1].content
    assert made.ids[: made.prefix_length] == tuple(Renderer(frozen, tokenizer).render_prompt(made.messages))


def test_with_a_reserve_prompts_are_shortened_alike_whatever_the_answer(family, talk):
    tokenizer = family("llama3")
    frozen = freeze(tokenizer)
    text = "the bank says again " * 60
    prompts = set()
    for answer in ("x", "refund_delayed", "fraud_unauthorised"):
        made = supervise(frozen, tokenizer, talk(text), answer, 120, reserve=20)
        prompts.add(made.ids[: made.prefix_length])
    assert prompts == {tuple(Renderer(frozen, tokenizer).render_prompt(talk(text), limit=100))}


def test_an_answer_is_never_cut(family, talk):
    tokenizer = family("llama3")
    frozen = freeze(tokenizer)
    with pytest.raises(SupervisionError, match=r"its answer alone takes \d+ tokens, and 20 are allowed"):
        supervise(frozen, tokenizer, talk("Hi"), "the total of " * 20, 20)
    with pytest.raises(SupervisionError, match="even without the user's text"):
        supervise(frozen, tokenizer, talk("refund " * 40), "other", 25)
    with pytest.raises(SupervisionError, match=r"it has \d+ tokens, and 60 are allowed"):
        supervise(frozen, tokenizer, talk("refund " * 40), "other", 60, shorten=False)


def test_rows_are_supervised_in_order_and_a_fault_names_its_row(tokenizer, talk):
    frozen = freeze(tokenizer)
    rows = [(i, talk(f"complaint {i}"), "other") for i in range(1, 30)]
    made = list(supervise_rows(frozen, tokenizer, rows))
    assert [one.row for one in made] == list(range(1, 30))
    assert made[6].ids == supervise(frozen, tokenizer, talk("complaint 7"), "other").ids
    for fault in [(30, talk("x"), ""), (30, [{"role": "oracle", "content": "x"}], "other")]:
        with pytest.raises(SupervisionError, match=r"^row 30"):
            list(supervise_rows(frozen, tokenizer, [*rows, fault]))
    with pytest.raises(TemplateError, match="role 'oracle'"):
        supervise(frozen, tokenizer, [{"role": "oracle", "content": "x"}], "other")


def test_histories_keep_their_answers_unsupervised(tokenizer, talk):
    messages = [*talk("Hi", ""), Message(role="assistant", content="yes"), Message(role="user", content="And?")]
    made = supervise(freeze(tokenizer), tokenizer, messages, "no")
    assert Renderer(freeze(tokenizer), tokenizer).parse_answer(taught(made)) == "no"
