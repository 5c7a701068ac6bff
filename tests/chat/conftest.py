"""Small real tokenizers, one for every family whose chat template is tested, trained on a few sentences."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from kasauti.core.types import Message

HERE = Path(__file__).parent
SHARED_MODELS = HERE.parents[1].parent / "shared" / "models"
CORPUS = [
    "Complaint: the refund of my payment has not come and the bank says that it was delayed again and again.",
    "You are a payment dispute classifier. Respond with only the category name, nothing else.",
    "refund_delayed refund_not_received duplicate_charge fraud_unauthorised other yes no",
    "    return the total of 12 and 345\n\nso that   it's done; isn't it?\n",
    "मेरा पैसा वापस नहीं आया। रिफंड कब मिलेगा? paisa wapas nahi aaya",
] * 3


@cache
def _byte_level(pattern: str, size: int = 420) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _byte_pre_tokenizer(pattern)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return str(tokenizer.to_str())


def _byte_pre_tokenizer(pattern: str) -> pre_tokenizers.PreTokenizer:
    if not pattern:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers import Regex

    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


# The pattern of Llama-3 and Qwen2.5, without the digit groups.
GPT4 = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@cache
def _sentencepiece(first: tuple[str, ...], size: int = 300) -> str:
    """BPE over ▁-words with byte fallback, as SentencePiece makes it, with the given tokens at the lowest ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    trained = json.loads(tokenizer.to_str())["model"]
    names = [*first, *(f"<0x{byte:02X}>" for byte in range(256)), *trained["vocab"]]
    vocab = {name: index for index, name in enumerate(dict.fromkeys(names))}
    merges = [tuple(merge) for merge in trained["merges"]]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    replace = decoders.Replace("▁", " ")
    made.decoder = decoders.Sequence([replace, decoders.ByteFallback(), decoders.Fuse()])
    return str(made.to_str())


def _wrap(tokenizer: Tokenizer, tokens: Sequence[str | AddedToken], **special: str) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) if isinstance(t, str) else t for t in tokens])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def llama3_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer.from_str(_byte_level(GPT4))
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    made = _wrap(tokenizer, names, bos_token=names[0], eos_token=names[4])
    backend = made.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[(names[0], backend.token_to_id(names[0]))]
    )
    return made


def qwen_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer.from_str(_byte_level(GPT4))
    tokenizer.normalizer = normalizers.NFC()
    made = _wrap(tokenizer, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], eos_token="<|im_end|>")
    plain = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
    made.add_tokens([AddedToken(name, normalized=False, special=False) for name in plain])
    return made


def gpt2_tokenizer() -> PreTrainedTokenizerFast:
    """A base model's: one token for beginning, end and unknown; `\\s+` takes newlines and spaces together."""
    tokenizer = Tokenizer.from_str(_byte_level(""))
    name = "<|endoftext|>"
    return _wrap(tokenizer, [name], bos_token=name, eos_token=name, unk_token=name)


def _metaspace(scheme: str, tokens: Sequence[str | AddedToken], strip: bool, **special: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer.from_str(_sentencepiece(("<unk>", special["bos_token"], special["eos_token"])))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)] if strip else parts)
    names = ["<unk>", special["bos_token"], special["eos_token"], *tokens]
    return _wrap(tokenizer, names, unk_token="<unk>", **special)


def mistral_tokenizer(scheme: str = "first", tokens: Sequence[str] = ("[INST]", "[/INST]")) -> PreTrainedTokenizerFast:
    return _metaspace(scheme, tokens, True, bos_token="<s>", eos_token="</s>")


def phi3_tokenizer() -> PreTrainedTokenizerFast:
    names = ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
    tokens = [AddedToken(name, normalized=False, rstrip=True) for name in names]
    return _metaspace("first", tokens, True, bos_token="<s>", eos_token="<|endoftext|>")


def gemma_tokenizer() -> PreTrainedTokenizerFast:
    tokens = ["<start_of_turn>", "<end_of_turn>"]
    made = _metaspace("never", tokens, False, bos_token="<bos>", eos_token="<eos>")
    made.add_tokens([AddedToken(text, normalized=False, special=False) for text in ("\n\n", "\n\n\n")])
    return made


def trl_template(name: str) -> str:
    """The text of a template that the installed `trl` carries."""
    spec = importlib.util.find_spec("trl")
    path = Path(str(spec.origin)).parent / "chat_templates" / f"{name}.jinja" if spec else HERE / "absent"
    if not path.is_file():
        pytest.skip(f"the installed trl carries no {name}.jinja")
    return path.read_text(encoding="utf-8")


# Family → the maker of its tokenizer, and where its template is: in trl, or beside these tests.
FAMILIES = {
    "llama3": (llama3_tokenizer, "llama3"),
    "llama3_1": (llama3_tokenizer, "llama3_1"),
    "llama3_2": (llama3_tokenizer, "llama3_2"),
    "mistral_v1": (lambda: mistral_tokenizer("always", ()), "./mistral_v1"),
    # This tokenizer writes a space of its own behind every control token.
    "mistral_v2": (lambda: mistral_tokenizer("always"), "./mistral_v1"),
    "mistral_v3": (mistral_tokenizer, "./mistral_v3"),
    "phi3": (phi3_tokenizer, "phi3"),
    "gemma": (gemma_tokenizer, "gemma"),
    "gemma3": (gemma_tokenizer, "gemma3"),
    "qwen2_5": (qwen_tokenizer, "qwen2_5"),
    "qwen3": (qwen_tokenizer, "qwen3"),
}


@cache
def family_tokenizer(name: str) -> PreTrainedTokenizerFast:
    make, where = FAMILIES[name]
    tokenizer = make()
    local = HERE / "templates" / f"{where.removeprefix('./')}.jinja"
    tokenizer.chat_template = local.read_text(encoding="utf-8") if where.startswith("./") else trl_template(where)
    return tokenizer


def make_talk(user: str, system: str = "Name the category.") -> list[Message]:
    head = [Message(role="system", content=system)] if system else []
    return [*head, Message(role="user", content=user)]


@pytest.fixture(scope="session")
def talk() -> Callable[..., list[Message]]:
    """`talk(user, system)`: a conversation to be answered."""
    return make_talk


@pytest.fixture(scope="session")
def family() -> Callable[[str], PreTrainedTokenizerFast]:
    """`family(name)`: the tokenizer of a family, shared; not to be changed."""
    return family_tokenizer


@pytest.fixture(scope="session")
def fresh() -> Callable[..., PreTrainedTokenizerFast]:
    """`fresh(name, template)`: a new tokenizer that a test may change, with the given template or none."""

    def make(name: str, template: str | None = None) -> PreTrainedTokenizerFast:
        made = gpt2_tokenizer() if name == "gpt2" else FAMILIES[name][0]()
        made.chat_template = template
        return made

    return make


@pytest.fixture(scope="session", params=FAMILIES)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """A tokenizer with its own chat template, of every family."""
    return family_tokenizer(request.param)


@pytest.fixture(scope="session", params=["stories260K", "babyllama105"])
def base_tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """Two real base tokenizers without a chat template; the second has 105 characters and no newline."""
    folder = SHARED_MODELS / request.param
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return AutoTokenizer.from_pretrained(folder)
