"""A template written as one text renders as the frozen one does, in Jinja and in Go."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import pytest

from kasauti.chat.ollama import modelfile, ollama_template
from kasauti.chat.served import check_served, served_ids, served_template
from kasauti.chat.template import KNOWN, Renderer, freeze
from kasauti.core.errors import TemplateError

TEXTS = ["Complaint: paisa wapas nahi aaya", "मेरा पैसा वापस नहीं आया", "  it's\n\n\n done;\t12 ", "👍🏽 {{ ok }}", "x"]
GO = """package main

import ("encoding/json"; "os"; "strings"; "text/template")

type Message struct { Role, Content string }
type Case struct { Template, System string; Messages []Message }

func main() {
	var cases []Case
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil { panic(err) }
	said := []string{}
	for _, one := range cases {
		var out strings.Builder
		made := template.Must(template.New("").Option("missingkey=zero").Parse(one.Template))
		given := map[string]any{"System": one.System, "Messages": one.Messages}
        if err := made.Execute(&out, given); err != nil { panic(err) }
		said = append(said, out.String())
	}
	json.NewEncoder(os.Stdout).Encode(said)
}
"""


@pytest.fixture(scope="session")
def go(tmp_path_factory):
    """`go(cases)`: what Go's own text/template renders."""
    if shutil.which("go") is None:
        pytest.skip("Go is not installed")
    folder = tmp_path_factory.mktemp("go")
    (folder / "main.go").write_text(GO, encoding="utf-8")
    place = {"GOCACHE": str(folder / "cache"), "GO111MODULE": "off", "HOME": str(folder)}
    import os

    subprocess.run(["go", "build", "-o", "render", "main.go"], cwd=folder, check=True, env={**os.environ, **place})

    def render(cases):
        done = subprocess.run([folder / "render"], input=json.dumps(cases).encode(), capture_output=True, check=True)
        return json.loads(done.stdout)

    return render


@pytest.mark.parametrize("system", ["Name the category.", ""])
@pytest.mark.parametrize("text", TEXTS)
def test_the_one_text_asks_with_trainings_ids(tokenizer, talk, text, system):
    frozen = freeze(tokenizer)
    template = served_template(frozen)
    check_served(frozen, tokenizer, template)
    assert served_ids(tokenizer, template, talk(text, system)) == Renderer(frozen, tokenizer).render_prompt(
        talk(text, system)
    )


@pytest.mark.parametrize("named", KNOWN)
def test_a_named_template_is_served_too(fresh, talk, named):
    tokenizer = fresh("gpt2")
    frozen = freeze(tokenizer, named=named)
    template = served_template(frozen)
    for text in TEXTS:
        want = Renderer(frozen, tokenizer).render_prompt(talk(text))
        assert served_ids(tokenizer, template, talk(text)) == want


def test_a_mark_that_only_one_library_reads_is_taken_out(fresh, talk):
    marked = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{%- if m['role'] == 'assistant' -%}\n"
        "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}\n{%- else -%}{{ m['content'] + "
        "'<|im_end|>' }}{%- endif -%}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    tokenizer = fresh("qwen2_5", marked)
    frozen = freeze(tokenizer)
    template = served_template(frozen)
    assert "generation %}" not in template.replace("add_generation_prompt %}", "")
    check_served(frozen, tokenizer, template)


def test_another_template_is_told(tokenizer):
    frozen = freeze(tokenizer)
    with pytest.raises(TemplateError, match="has other ids"):
        check_served(frozen, tokenizer, served_template(frozen) + "!")


WITH_SYSTEM = ("llama3", "llama3_1", "llama3_2", "phi3", "qwen2_5", "qwen3")


def conversations(text):
    user, said = {"role": "user", "content": text}, {"role": "assistant", "content": "no"}
    system = {"role": "system", "content": 'Name the "category".\nIt\'s <one>.'}
    return [[system, user], [user], [user, said, user], [system, user, said, user]]


@pytest.mark.parametrize("name", WITH_SYSTEM)
def test_go_renders_what_training_rendered(go, family, name):
    tokenizer = family(name)
    renderer = Renderer(freeze(tokenizer), tokenizer)
    made = ollama_template(renderer)
    cases, wanted = [], []
    for text in TEXTS:
        text = text.strip() if made.trims else text
        for turns in conversations(text):
            wanted.append(renderer.prompt_text(turns)[0])
            messages = [{"Role": turn["role"], "Content": turn["content"]} for turn in turns]
            system = next((turn["content"] for turn in turns if turn["role"] == "system"), "")
            cases.append({"Template": made.text, "System": system, "Messages": messages})
            assert made.render([(turn["role"], turn["content"]) for turn in turns]) == wanted[-1]
    assert go(cases) == wanted


def test_what_the_runtime_writes_itself_is_left_to_it(family):
    tokenizer = family("llama3")
    renderer = Renderer(freeze(tokenizer), tokenizer)
    turns = [("user", "Hi")]
    whole, rest = ollama_template(renderer), ollama_template(renderer, without="<|begin_of_text|>")
    assert whole.render(turns) == "<|begin_of_text|>" + rest.render(turns)


def test_trimming_is_seen(family):
    trims = {name: ollama_template(Renderer(freeze(family(name)), family(name))).trims for name in WITH_SYSTEM}
    assert trims["llama3"]
    assert not trims["qwen2_5"]


@pytest.mark.parametrize("name", ["mistral_v3", "gemma"])
def test_a_template_without_a_system_turn_is_refused(family, name):
    tokenizer = family(name)
    with pytest.raises(TemplateError, match="cannot be written for Ollama: it has no system turn"):
        ollama_template(Renderer(freeze(tokenizer), tokenizer))


def test_a_template_that_counts_is_refused(fresh):
    counting = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + (loop.index0 | string) + m['content'] + "
        "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    tokenizer = fresh("qwen2_5", counting)
    with pytest.raises(TemplateError, match="renders otherwise"):
        ollama_template(Renderer(freeze(tokenizer), tokenizer))


def test_a_modelfile_says_everything_and_refuses_what_would_end_it(family):
    tokenizer = family("qwen2_5")
    made = ollama_template(Renderer(freeze(tokenizer), tokenizer))
    said = {"file": "model.gguf", "stops": ["<|im_end|>"], "window": 512, "most": 9}
    text = modelfile(made, system="Name it.", **said)
    assert text.startswith(f'FROM ./model.gguf\nTEMPLATE """{made.text}"""\nSYSTEM """Name it."""\n')
    assert 'PARAMETER stop "<|im_end|>"\n' in text
    assert "PARAMETER num_ctx 512\n" in text
    with pytest.raises(TemplateError, match="three quotation marks"):
        modelfile(made, system='a """ b', **said)
    with pytest.raises(TemplateError, match="three quotation marks"):
        modelfile(replace(made, ask='"""'), system='a"""', **said)
