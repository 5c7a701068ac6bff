"""A tiny chat model and a small task that several rooms use. Real parts throughout: transformers' Llama, a trained
tokenizer.
"""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("kasauti", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("kasauti")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
WORDS = {
    "refund": ("refund", "money", "back", "return", "credit", "reversed", "wallet", "repaid", "pending", "balance"),
    "card": ("card", "blocked", "declined", "swipe", "pin", "chip", "expired", "atm", "machine", "plastic"),
    "parcel": ("parcel", "delivery", "courier", "box", "late", "arrived", "package", "address", "driver", "door"),
}
FILLER = (
    "please",
    "my",
    "the",
    "since",
    "yesterday",
    "help",
    "still",
    "why",
    "again",
    "today",
    "order",
    "shop",
    "app",
    "week",
    "bank",
    "number",
)


def complaints(rows: int, seed: int = 0) -> list[tuple[str, str]]:
    """(text, label), no two texts alike, every label often."""
    draw, labels, made = random.Random(seed), list(WORDS), []
    for number in range(rows):
        label = labels[number % len(labels)]
        words = draw.sample(WORDS[label], 4) + draw.sample(FILLER, 6)
        draw.shuffle(words)
        made.append((" ".join([*words, f"n{seed}{number}"]), label))
    return made


def write_rows(path: Path, rows: Sequence[Sequence[str]], head: Sequence[str] = ("text", "label")) -> Path:
    """A CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def task_text(model: object, *, test: bool = True) -> str:
    """A task file over `train.csv` and `test.csv`."""
    labels = "".join(f"  {label}: about a {label}\n" for label in WORDS)
    return (
        "name: complaints\nkind: classification\ninstructions: Name the category of the complaint.\n"
        f'input: "Complaint: {{text}}"\ntarget: label\nlabels:\n{labels}fallback: parcel\n'
        f"data: {{train: train.csv, test: {'test.csv' if test else 'null'}}}\nmodel: {model}\n"
        "train: {epochs: 1, batch: 16, r: 4}\n"
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained Llama (64 wide, 2 layers) and a byte-level tokenizer with a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny-model")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([text for text, _ in complaints(300)], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    folder.chmod(0o755)  # some tests read it as an ordinary user
    return folder


@pytest.fixture
def make_task(tmp_path: Path, tiny_model: Path) -> Callable[..., Path]:
    """`make_task(rows=90, test=30, model=…, extra="…")`: a folder with `task.yaml` and its data."""

    def build(
        *, rows: int = 90, test: int = 30, model: str | None = None, name: str = "task", extra: str = "", seed: int = 1
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        write_rows(folder / "train.csv", complaints(rows, seed))
        if test:
            write_rows(folder / "test.csv", complaints(test, seed + 1))
        (folder / "task.yaml").write_text(task_text(model or tiny_model, test=bool(test)) + extra, encoding="utf-8")
        return folder

    return build


@pytest.fixture(scope="session")
def finished_task(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Any:
    """A task whose trial of all approaches is finished: (folder, Task, Trial). Copy the folder before changing it."""
    from kasauti.approaches.catalogue import DEFAULT
    from kasauti.core.task import load_task
    from kasauti.decide.trial import run_trial

    folder = tmp_path_factory.mktemp("finished")
    write_rows(folder / "train.csv", complaints(90, 1))
    write_rows(folder / "test.csv", complaints(30, 2))
    (folder / "task.yaml").write_text(task_text(tiny_model), encoding="utf-8")
    task = load_task(folder)
    return folder, task, run_trial(task, DEFAULT)
