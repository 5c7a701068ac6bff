"""What a response means, and what its log-probabilities say of the labels; no response breaks the reading."""

from __future__ import annotations

import email.utils
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.approaches.hosted.reply import Means, read_reply, wait_of
from kasauti.approaches.hosted.sure import LEAST, label_logs

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "usage", "error", "logprobs", "top_logprobs", "token"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
WHOLE = {
    "model": "m",
    "choices": [{"message": {"content": "card"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}


@given(st.sampled_from([200, 200, 200, 301, 400, 404, 429, 500, 502, 599]), JSON | st.just(WHOLE))
def test_any_json_is_read_and_says_what_to_do(status, document):
    reply = read_reply(status, {}, json.dumps(document).encode())
    assert reply.means in Means
    assert reply.means is not Means.ANSWER or status == 200
    assert reply.means is Means.ANSWER or reply.why
    assert len(reply.why) < 400
    assert "\n" not in reply.why
    json.dumps([reply.text, reply.why, reply.model, reply.tops]).encode("utf-8")


@given(st.binary(max_size=200), st.sampled_from([200, 400, 500]))
def test_any_bytes_are_read(body, status):
    assert read_reply(status, {}, body).means in Means


@given(st.integers(0, len(json.dumps(WHOLE)) - 1))
def test_an_answer_cut_anywhere_is_no_answer(cut):
    assert read_reply(200, {}, json.dumps(WHOLE)[:cut].encode()).means is Means.AGAIN


@pytest.mark.parametrize(
    ("status", "error", "means", "maybe_paid"),
    [
        (429, {"code": "rate_limit_exceeded"}, Means.AGAIN, False),
        (429, {"code": "insufficient_quota"}, Means.STOP, False),
        (429, {"type": "insufficient_quota"}, Means.STOP, False),
        (429, {"type": "insufficient_quota", "code": "credit_balance_exhausted"}, Means.STOP, False),
        (401, {}, Means.STOP, False),
        (302, {}, Means.STOP, False),
        (400, {}, Means.ROW, False),
        (422, {}, Means.ROW, False),
        (408, {}, Means.AGAIN, False),
        (500, {}, Means.AGAIN, False),
        (504, {}, Means.AGAIN, True),
        (200, {"code": 503, "message": "no provider"}, Means.AGAIN, False),
        (200, {"code": 400, "message": "too long"}, Means.ROW, False),
        (200, {"message": "?"}, Means.AGAIN, True),
    ],
)
def test_errors_are_told_apart(status, error, means, maybe_paid):
    reply = read_reply(status, {}, json.dumps({"error": {"message": "why", **error}}).encode())
    assert (reply.means, reply.maybe_paid) == (means, maybe_paid)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"detail": "a problem document", "title": "t", "status": 500}', "500: a problem document"),
        (b'{"error": "plain text"}', "500: plain text"),
        (b"<html>busy</html>", "500: <html>busy</html>"),
        (b"", "status 500"),
    ],
)
def test_the_servers_words_are_found_in_every_shape_of_error(body, why):
    assert read_reply(500, {}, body).why == why


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": email.utils.formatdate(1_000_060, usegmt=True)}, 60.0),
        ({"retry-after": email.utils.formatdate(999_000, usegmt=True)}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers, seconds):
    assert wait_of(headers, now=1_000_000.0) == seconds


def told(tokens: list[tuple[bytes, dict[bytes, float]]]) -> tuple:
    """A response's log-probabilities, read: for each token its bytes and the probabilities of it and its rivals."""

    def one(piece: bytes, p: float) -> dict:
        return {"token": piece.decode("utf-8", "replace"), "bytes": list(piece), "logprob": math.log(p)}

    content = [
        {**one(piece, rivals[piece]), "top_logprobs": [one(other, p) for other, p in rivals.items()]}
        for piece, rivals in tokens
    ]
    document = {**WHOLE, "choices": [{**WHOLE["choices"][0], "logprobs": {"content": content}}]}
    return read_reply(200, {}, json.dumps(document).encode()).tops


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_labels_told_apart_by_their_first_token_get_its_probabilities(weights):
    card, refund, parcel = (w / sum(weights) for w in weights)
    tops = told([(b"c", {b"c": card, b"re": refund, b" pa": parcel}), (b"ard", {b"ard": 1.0})])
    found = np.exp(label_logs(tops, "card", ["card", "refund", "parcel"]))
    assert found == pytest.approx([card, refund, parcel], rel=1e-6)


def test_labels_that_part_later_get_what_is_left_there():
    names = ["refund_late", "refund_lost", "card"]
    tops = told(
        [
            (b"refund_", {b"refund_": 0.7, b"card": 0.3}),
            (b"l", {b"l": 1.0}),
            (b"ate", {b"ate": 0.6, b"ost": 0.4}),
        ]
    )
    assert np.exp(label_logs(tops, "refund_late", names)) == pytest.approx([0.42, 0.28, 0.3])


def test_a_rival_that_can_still_become_two_labels_is_shared_by_them():
    tops = told([(b"card", {b"card": 0.6, b"refund": 0.4})])
    assert np.exp(label_logs(tops, "card", ["card", "refund a", "refund b"])) == pytest.approx([0.6, 0.2, 0.2])


def test_an_end_of_turn_that_is_told_as_a_token_counts_for_the_answer_and_against_longer_labels():
    tops = told([(b"refund", {b"refund": 0.9, b"card": 0.1}), (b"<|end|>", {b"<|end|>": 0.75, b" late": 0.25})])
    assert np.exp(label_logs(tops, "refund", ["refund", "refund late", "card"])) == pytest.approx([0.675, 0.225, 0.1])


def test_tokens_that_cut_a_letter_are_put_together_by_their_bytes():
    whole = "पैसा".encode()
    tops = told([(whole[:4], {whole[:4]: 0.8, b"card": 0.2}), (whole[4:], {whole[4:]: 1.0})])
    assert np.exp(label_logs(tops, "पैसा", ["पैसा", "card"])) == pytest.approx([0.8, 0.2])


PIECES = [b"a", b"b", b"ab", b" ", b"c", b"\xe0"]
RIVALS = st.lists(st.tuples(st.sampled_from(PIECES), st.floats(1e-6, 1)), min_size=1, max_size=4)


@given(st.lists(RIVALS, min_size=1, max_size=4))
def test_whatever_is_told_every_label_has_a_probability_and_they_come_to_no_more_than_one(places):
    tokens = []
    for place in places:
        chances = dict(place)
        total = sum(chances.values()) * 1.01
        tokens.append((place[0][0], {piece: p / total for piece, p in chances.items()}))
    labels = ["".join(p) for n in (1, 2, 3) for p in itertools.product("ab", repeat=n)]
    found = label_logs(told(tokens), "ab", labels)
    assert np.isfinite(found).all()
    assert (found >= math.log(LEAST) - 1e-9).all()
    assert np.exp(found).sum() <= 1 + len(labels) * LEAST + 1e-6


@pytest.mark.parametrize("damage", [{"logprob": None}, {"top_logprobs": None}, {"token": 3, "bytes": None}])
def test_log_probabilities_that_lack_a_part_are_none(damage):
    place = {"token": "a", "bytes": [97], "logprob": -0.1, "top_logprobs": [], **damage}
    choice = {**WHOLE["choices"][0], "logprobs": {"content": [place]}}
    assert read_reply(200, {}, json.dumps({**WHOLE, "choices": [choice]}).encode()).tops == ()
