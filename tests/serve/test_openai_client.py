"""The official client of the OpenAI protocol against a real server process, for labels and for texts."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from tests.conftest import complaints, write_rows
from tests.serve.conftest import Running, running

from kasauti.core.task import load_task
from kasauti.serve.keys import Keys

ASKED = [{"role": "user", "content": "Complaint: my card was declined at the machine"}]


def client(server: Running, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.address}/v1", api_key=key, max_retries=0, timeout=120)


def test_a_category_plain_and_streaming(server):
    chat = client(server).chat.completions
    plain = chat.create(model="complaints", messages=ASKED)
    assert (plain.choices[0].message.content, plain.choices[0].finish_reason) == ("card", "stop")
    assert 0 < plain.model_extra["kasauti"]["confidence"] <= 1
    pieces = list(chat.create(model="complaints", messages=ASKED, stream=True, stream_options={"include_usage": True}))
    assert "".join(one.choices[0].delta.content or "" for one in pieces if one.choices) == "card"
    assert [one.choices[0].finish_reason for one in pieces if one.choices][-1] == "stop"
    assert {one.id for one in pieces} == {pieces[0].id}
    assert pieces[-1].choices == []


def test_log_probabilities_are_those_of_the_labels(server):
    chat = client(server).chat.completions
    asked = {"model": "complaints", "messages": ASKED, "logprobs": True, "top_logprobs": 3}
    given = chat.create(**asked)
    (place,) = given.choices[0].logprobs.content
    assert place.token == "card"
    assert math.exp(place.logprob) == pytest.approx(given.model_extra["kasauti"]["confidence"], abs=1e-6)
    assert place.top_logprobs[0].token == "card"
    assert sum(math.exp(one.logprob) for one in place.top_logprobs) == pytest.approx(1)
    streamed = [one.choices[0] for one in chat.create(**asked, stream=True)]
    assert [one.logprobs.content[0].logprob for one in streamed if one.logprobs] == [place.logprob]
    assert chat.create(model="complaints", messages=ASKED).choices[0].logprobs is None


def test_models_and_an_unknown_one(server):
    ours = client(server)
    assert [one.id for one in ours.models.list()] == ["complaints"]
    assert ours.models.retrieve("complaints").owned_by == "kasauti"
    with pytest.raises(openai.NotFoundError) as refused:
        ours.chat.completions.create(model="gpt-4o", messages=ASKED)
    assert (refused.value.code, refused.value.type) == ("model_not_found", "invalid_request_error")
    with pytest.raises(openai.NotFoundError):
        ours.models.retrieve("gpt-4o")


def test_what_is_too_long_and_what_cannot_be_asked(server):
    chat = client(server).chat.completions
    long = [{"role": "user", "content": "Complaint: " + "word " * 20_000}]
    with pytest.raises(openai.APIStatusError) as refused:
        chat.create(model="complaints", messages=long)
    assert (refused.value.status_code, refused.value.code) == (413, "context_length_exceeded")
    for more in ({"n": 2}, {"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 21}, {"max_tokens": 0}):
        with pytest.raises(openai.UnprocessableEntityError):
            chat.create(model="complaints", messages=ASKED, **more)


def test_a_wrong_key(registered, tmp_path):
    folder = shutil.copytree(registered, tmp_path / "task")
    key = Keys(folder / ".kasauti/keys.json").add("shop", "caller")
    with running(folder, "--calls", "none") as server:
        server.until_ready()
        with pytest.raises(openai.AuthenticationError) as refused:
            client(server, "kst_wrong").chat.completions.create(model="complaints", messages=ASKED)
        assert refused.value.code == "invalid_api_key"
        assert client(server, key).chat.completions.create(model="complaints", messages=ASKED).choices


def summaries(folder: Path, model: object) -> Path:
    """A task whose answers are texts, with a version: an untrained model, which writes until it is stopped."""
    from kasauti.decide.trial import run_trial
    from kasauti.registry.register import register

    rows = [(text, f"About a {label} ✓.") for text, label in complaints(48, 3)]
    write_rows(folder / "train.csv", rows[:36], ("text", "summary"))
    write_rows(folder / "test.csv", rows[36:42], ("text", "summary"))
    (folder / "task.yaml").write_text(
        "name: notes\nkind: summarization\ninstructions: Say it in few words.\n"
        f'input: "{{text}}"\ntarget: summary\ndata: {{train: train.csv, test: test.csv}}\nmodel: {model}\n',
        encoding="utf-8",
    )
    task = load_task(folder)
    register(task, run_trial(task, ["prompt_instructions"]))
    return folder


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Running]:
    with running(summaries(tmp_path_factory.mktemp("texts"), tiny_model)) as one:
        yield one.until_ready()


def test_a_text_is_streamed_as_it_is_written(writer):
    chat = client(writer).chat.completions
    asked = {"model": "notes", "messages": [{"role": "user", "content": "why is my card blocked again"}]}
    plain = chat.create(**asked)
    pieces = list(chat.create(**asked, stream=True, stream_options={"include_usage": True}))
    texts = [one.choices[0].delta.content for one in pieces if one.choices and one.choices[0].delta.content]
    assert len(texts) > 3
    assert "".join(texts) == plain.choices[0].message.content
    assert pieces[-1].usage == plain.usage
    assert plain.usage.completion_tokens > 3
    reasons = [one.choices[0].finish_reason for one in pieces if one.choices]
    assert reasons == [*[None] * (len(reasons) - 1), plain.choices[0].finish_reason]
    short = chat.create(**asked, max_tokens=3)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 3)
    assert plain.choices[0].message.content.startswith(short.choices[0].message.content.rstrip("\ufffd"))


def test_texts_of_one_batch_are_streamed_each_to_its_own_caller(writer):
    from concurrent.futures import ThreadPoolExecutor

    def both(text: str) -> tuple[str, str]:
        asked = {"model": "notes", "messages": [{"role": "user", "content": text}]}
        chat = client(writer).chat.completions
        streamed = "".join(
            one.choices[0].delta.content or "" for one in chat.create(**asked, stream=True) if one.choices
        )
        return streamed, chat.create(**asked).choices[0].message.content

    with ThreadPoolExecutor(4) as pool:
        for streamed, plain in pool.map(both, [f"parcel {n} is late" for n in range(4)]):
            assert streamed == plain


def test_a_task_without_labels_says_so(writer):
    reply = writer.ask("/classify", {"text": "my card"})
    assert (reply.status, reply.headers["Content-Type"]) == (422, "application/problem+json")
    assert "no labels" in reply.json["detail"]
    assert "/classify" not in writer.ask("/openapi.json").json["paths"]
    assert 'kasauti_answers_total{accepted="false",category=""' in writer.ask("/metrics").body.decode()
