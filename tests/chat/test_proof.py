"""The proof passes what is right on every row and every template, and catches every kind of corruption."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.chat.proof import prove, prove_supervised
from kasauti.chat.supervise import IGNORED, SupervisedRow, supervise, supervise_rows
from kasauti.chat.template import freeze
from kasauti.core.errors import SupervisionError
from kasauti.core.types import Message, Supervised

ANSWERS = ["refund_delayed", "other", "fraud unauthorised", "मेरा पैसा", "x"]


def rows_of(talk, count=24):
    return [(i + 1, talk(f"Complaint {i}: paisa nahi aaya </s>"), ANSWERS[i % len(ANSWERS)]) for i in range(count)]


def test_every_row_of_every_template_is_proved(tokenizer, talk):
    frozen = freeze(tokenizer)
    proof = prove(frozen, tokenizer, rows_of(talk))
    made = list(supervise_rows(frozen, tokenizer, rows_of(talk)))
    assert proof.rows == 24
    assert proof.tokens == sum(len(one.ids) for one in made)
    assert proof.supervised_tokens == sum(label != IGNORED for one in made for label in one.labels)
    assert proof.longest == max(len(one.ids) for one in made)
    assert len(made[proof.longest_row - 1].ids) == proof.longest
    assert proof.longest_answer == max(sum(label != IGNORED for label in one.labels) for one in made)
    assert (proof.shortened_rows, proof.unknown_rows) == (0, 0)
    assert proof.template_sha256 == frozen.sha256
    assert prove(frozen, tokenizer, rows_of(talk), made) == proof


@given(texts=st.lists(st.tuples(st.text(max_size=30), st.text(min_size=1, max_size=30)), min_size=1, max_size=6))
@settings(max_examples=15, deadline=None)
def test_any_texts_are_proved(tokenizer, talk, texts):
    rows = [
        (i + 1, talk(user), answer) for i, (user, answer) in enumerate(texts) if answer.strip() and "▁" not in answer
    ]
    if rows:
        assert prove(freeze(tokenizer), tokenizer, rows).rows == len(rows)


def test_samples_show_different_answers_in_the_order_of_the_rows(family, talk):
    tokenizer = family("llama3")
    proof = prove(freeze(tokenizer), tokenizer, rows_of(talk), samples=3)
    assert [sample.row for sample in proof.samples] == [1, 2, 3]
    same = [(i, talk("Hi"), "other") for i in range(1, 9)]
    assert [sample.row for sample in prove(freeze(tokenizer), tokenizer, same, samples=4).samples] == [1, 2, 3, 4]
    assert prove(freeze(tokenizer), tokenizer, same, samples=0).samples == ()
    taught = "".join(token.text for token in proof.samples[0].view if token.supervised)
    assert taught == "refund_delayed<|eot_id|>"


def corrupt_prompt_supervised(made, frozen):
    return made.ids, tuple(made.ids)[: made.prefix_length] + made.labels[made.prefix_length :]


def corrupt_one_prompt_token_supervised(made, frozen):
    at = made.prefix_length - 1
    return made.ids, made.labels[:at] + made.ids[at : at + 1] + made.labels[at + 1 :]


def corrupt_first_answer_token_ignored(made, frozen):
    at = made.prefix_length
    return made.ids, (*made.labels[:at], IGNORED, *made.labels[at + 1 :])


def corrupt_middle_ignored(made, frozen):
    at = made.prefix_length + 1
    return made.ids, (*made.labels[:at], IGNORED, *made.labels[at + 1 :])


def corrupt_end_ignored(made, frozen):
    at = made.labels.index(frozen.frame.end_id)
    return made.ids, (*made.labels[:at], IGNORED, *made.labels[at + 1 :])


def corrupt_nothing_supervised(made, frozen):
    return made.ids, (IGNORED,) * len(made.ids)


def corrupt_truncated(made, frozen):
    cut = made.prefix_length + 2
    return made.ids[:cut], made.labels[:cut]


def corrupt_truncated_to_the_prompt(made, frozen):
    return made.ids[: made.prefix_length], made.labels[: made.prefix_length]


def corrupt_shifted(made, frozen):
    return made.ids, (*made.labels[1:], IGNORED)


def corrupt_another_label(made, frozen):
    at = made.prefix_length
    return made.ids, (*made.labels[:at], made.labels[at] + 1, *made.labels[at + 1 :])


def corrupt_another_answer(made, frozen):
    at = made.prefix_length
    return (
        (*made.ids[:at], made.ids[at] + 1, *made.ids[at + 1 :]),
        (*made.labels[:at], made.labels[at] + 1, *made.labels[at + 1 :]),
    )


def corrupt_two_bos(made, frozen):
    return (made.ids[0], *made.ids), (IGNORED, *made.labels)


def corrupt_no_bos(made, frozen):
    return made.ids[1:], made.labels[1:]


def corrupt_another_prompt(made, frozen):
    return (*made.ids[:3], made.ids[3] + 1, *made.ids[4:]), made.labels


def corrupt_two_ends(made, frozen):
    at = made.labels.index(frozen.frame.end_id)
    end = made.labels[at]
    return (*made.ids[:at], end, *made.ids[at:]), (*made.labels[:at], end, *made.labels[at:])


def corrupt_tail_supervised(made, frozen):
    return (*made.ids, 5), (*made.labels[: len(made.ids)], 5)


def corrupt_lengths(made, frozen):
    return made.ids, made.labels[:-1]


CORRUPTIONS = {
    corrupt_prompt_supervised: "tokens of the prompt are supervised",
    corrupt_one_prompt_token_supervised: "1 tokens of the prompt are supervised",
    corrupt_first_answer_token_ignored: "the first 1 tokens of the answer are not supervised",
    corrupt_middle_ignored: "in the middle of the answer is not supervised",
    corrupt_end_ignored: "the end of the turn .* is not supervised",
    corrupt_nothing_supervised: "no token is supervised",
    corrupt_truncated: "the end of the turn .* is not supervised",
    corrupt_truncated_to_the_prompt: "no token is supervised",
    corrupt_shifted: "has the id .* and the label",
    corrupt_another_label: "has the id .* and the label",
    corrupt_another_answer: "supervised is .* and the answer is",
    corrupt_two_bos: "is not the one that is asked",
    corrupt_no_bos: "is not the one that is asked",
    corrupt_another_prompt: "is not the one that is asked: they differ at position 3",
    corrupt_two_ends: "is not the last supervised token, once",
    corrupt_tail_supervised: "is not supervised|middle of the answer|last supervised",
    corrupt_lengths: "ids and .* labels",
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: corrupt.__name__)
def test_every_corruption_is_caught_and_the_row_named(tokenizer, talk, corrupt):
    frozen = freeze(tokenizer)
    rows = [(i, talk(f"Complaint {i}"), "refund is delayed again") for i in range(1, 6)]
    made: list[Supervised] = list(supervise_rows(frozen, tokenizer, rows))
    ids, labels = corrupt(made[3], frozen)
    made[3] = Supervised(ids=ids, labels=labels, prefix_length=made[3].prefix_length)
    with pytest.raises(SupervisionError, match=f"^row 4: .*({CORRUPTIONS[corrupt]})"):
        prove(frozen, tokenizer, rows, made)
    with pytest.raises(SupervisionError, match=CORRUPTIONS[corrupt]):
        prove_supervised(frozen, tokenizer, ids, labels, messages=rows[3][1], answer=rows[3][2])


def test_right_ids_and_labels_pass_as_plain_lists(tokenizer, talk):
    frozen = freeze(tokenizer)
    made = supervise(frozen, tokenizer, talk("Hi"), "other")
    prove_supervised(frozen, tokenizer, list(made.ids), list(made.labels), messages=talk("Hi"), answer="other")


def test_ids_of_another_row_are_caught(family, talk):
    tokenizer = family("qwen3")
    frozen = freeze(tokenizer)
    rows = [(1, talk("a"), "other"), (2, talk("b"), "yes")]
    made = list(supervise_rows(frozen, tokenizer, rows))
    with pytest.raises(SupervisionError, match=r"^row 1: the prompt that is trained is not the one that is asked"):
        prove(frozen, tokenizer, rows, made[::-1])
    with pytest.raises(SupervisionError, match=r"^row 2: .*supervised is 'other"):
        prove(frozen, tokenizer, rows, [made[0], replace(supervise(frozen, tokenizer, talk("b"), "other"), row=2)])


def test_too_few_and_too_many_ids_and_no_rows_are_refused(family, talk):
    tokenizer = family("qwen3")
    frozen = freeze(tokenizer)
    made = list(supervise_rows(frozen, tokenizer, rows_of(talk)))
    with pytest.raises(SupervisionError, match="row 24 has no ids and labels"):
        prove(frozen, tokenizer, rows_of(talk), made[:-1])
    with pytest.raises(SupervisionError, match="more ids and labels than rows"):
        prove(frozen, tokenizer, rows_of(talk), [*made, made[0]])
    with pytest.raises(SupervisionError, match="no row to train on"):
        prove(frozen, tokenizer, [])


def test_a_template_that_trains_on_another_prompt_than_it_asks_is_caught(family, talk):
    """Qwen2.5 writes a system text of its own where there is none: rows made without the system turn fail."""
    tokenizer = family("qwen2_5")
    frozen = freeze(tokenizer)
    made = [supervise(frozen, tokenizer, talk("Hi", ""), "other")]
    with pytest.raises(SupervisionError, match=r"^row 1: the prompt that is trained is not the one that is asked"):
        prove(frozen, tokenizer, [(1, talk("Hi"), "other")], made)


def test_two_bos_in_prompt_and_training_alike_are_caught(family, talk):
    tokenizer = family("llama3")
    frozen = freeze(tokenizer)
    doubled = replace(frozen, text="{{ bos_token }}" + frozen.text)
    with pytest.raises(SupervisionError, match=r"^row 1: the prompt has 2 BOS tokens"):
        prove(doubled, tokenizer, [(1, talk("Hi"), "other")])
    none = replace(frozen, text=frozen.text.replace("bos_token + ", ""))
    with pytest.raises(SupervisionError, match=r"^row 1: the prompt has 0 BOS tokens"):
        prove(none, tokenizer, [(1, talk("Hi"), "other")])
    with pytest.raises(SupervisionError, match="the template writes none"):
        prove(replace(frozen, bos="none"), tokenizer, [(1, talk("Hi"), "other")])
    with pytest.raises(SupervisionError, match="begins with two BOS"):
        prove(replace(doubled, bos="turns"), tokenizer, [(1, talk("Hi"), "other")])


def test_shortened_rows_are_counted_and_checked(tokenizer, talk):
    frozen = freeze(tokenizer)
    rows = [(1, talk("Hi"), "other"), (2, talk("the bank says again " * 60), "refund_delayed")]
    limit = len(supervise(frozen, tokenizer, *rows[1][1:]).ids) - 20
    proof = prove(frozen, tokenizer, rows, max_length=limit)
    assert (proof.shortened_rows, proof.shortened_row_numbers) == (1, (2,))
    assert proof.longest <= limit
    made = list(supervise_rows(frozen, tokenizer, rows, limit))
    assert prove(frozen, tokenizer, rows, made, max_length=limit) == proof
    with pytest.raises(SupervisionError, match=r"^row 2: .*the trainer would cut the answer"):
        prove(frozen, tokenizer, rows, list(supervise_rows(frozen, tokenizer, rows)), max_length=limit)


def test_a_row_shortened_elsewhere_than_in_the_users_text_is_caught(family, talk):
    tokenizer = family("qwen3")
    frozen = freeze(tokenizer)
    rows = [(1, talk("the bank says again " * 60), "other")]
    made = next(supervise_rows(frozen, tokenizer, rows, 100))
    for messages in (
        (Message(role="system", content="Short."), made.messages[1]),
        (made.messages[0], Message(role="user", content="the bank")),
        (made.messages[0], Message(role="user", content="another ... again ")),
    ):
        forged: list[Supervised] = [replace(made, messages=messages)]
        with pytest.raises(SupervisionError, match=r"^row 1: something other than the middle"):
            prove(frozen, tokenizer, rows, forged, max_length=100)
    assert isinstance(made, SupervisedRow)


def test_a_fault_of_the_template_names_the_row(family, talk):
    tokenizer = family("gemma")
    wrong = [Message(role="user", content="a"), Message(role="user", content="b")]
    with pytest.raises(SupervisionError, match=r"^row 2, chat template: .*refuses the conversation"):
        prove(freeze(tokenizer), tokenizer, [(1, talk("Hi"), "other"), (2, wrong, "other")])


def test_the_same_text_in_another_unicode_form_is_the_same_answer(family, talk):
    """Qwen's tokenizer writes NFC."""
    assert prove(freeze(family("qwen3")), family("qwen3"), [(1, talk("Hi"), "cafe\u0301")]).rows == 1


def test_base_tokenizers_are_proved_with_a_named_template(base_tokenizer, talk):
    rows = [(1, talk("the refund\nis late"), "refund delayed"), (2, talk("paisa नहीं"), "other")]
    for named in ("plain", "chatml"):
        frozen = freeze(base_tokenizer, named=named)
        proof = prove(frozen, base_tokenizer, rows)
        assert proof.rows == 2
        assert proof.samples[0].view[-1].id == base_tokenizer.eos_token_id


def test_answers_that_cannot_be_spelled_are_refused_unless_allowed_and_apart(base_tokenizer, talk):
    frozen = freeze(base_tokenizer, named="plain")
    rows = [(1, talk("Hi"), "other"), (2, talk("Hi"), "refund_delayed"), (3, talk("Ho"), "refund_delayed")]
    if "_" in base_tokenizer.decode(base_tokenizer.encode("_")):
        assert prove(frozen, base_tokenizer, rows).unknown_rows == 0
        return
    with pytest.raises(SupervisionError, match=r"^row 2: the tokenizer cannot write the answer 'refund_delayed'"):
        prove(frozen, base_tokenizer, rows)
    assert prove(frozen, base_tokenizer, rows, allow_unknown=True).unknown_rows == 2
    with pytest.raises(SupervisionError, match=r"^row 4: .*with the same tokens"):
        prove(frozen, base_tokenizer, [*rows, (4, talk("Hi"), "refund#delayed")], allow_unknown=True)
    made = supervise(frozen, base_tokenizer, talk("Hi"), "refund_received")
    with pytest.raises(SupervisionError, match=r"^row 1: supervised is"):
        prove(frozen, base_tokenizer, [(1, talk("Hi"), "refund_delayed")], [made], allow_unknown=True)
