"""Trains kasauti/nano from scratch: `python tools/nano/train.py --data ../shared/data --out FOLDER [--steps N]`, or the
same under `torchrun --nproc-per-node 2`, which gives each process its own half of every batch.

Walks in: public data, generated utterances. Walks out: a folder in Hugging Face format with tokenizer, bf16 weights
and the loss curve. Most tokens are of classification episodes (episodes.py); many sequences, being short ones, are a text
and its label with no list, and the rest chat documents. It resumes from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from embeddings import first_embeddings
from episodes import Episode, Episodes, plain_classification
from muon import Muon
from noise import Noise
from sources import (
    Pool,
    bitext_pool,
    bitext_rows,
    clinc_pool,
    documents,
    generated_pools,
    lexicon,
    multidogo_pools,
    multidogo_rows,
)
from vocabulary import save, train

LENGTH = 640
"""Longest sequence in training, tokens; longer documents are cut at the end, longer episodes are drawn again."""
BATCH_TOKENS = 4096
"""Padded tokens that one process reads in a step."""
LATE = 0.5
"""From this share of the steps on, most sequences are a written message and its intent: what tells hundreds of narrow
intents apart tells a new dozen apart after a little tuning."""
REPETITIONS = 0.05
"""Share of sequences that are random tokens said twice."""


@dataclass(frozen=True)
class Sequence:
    """One training sequence and which of its tokens count."""

    ids: list[int]
    answer: list[bool]
    """Tokens of answers, with their end."""
    text: bool
    """Whether the other tokens count too, as language modelling."""


class Corpus:
    """Everything that training reads, and the draws from it."""

    def __init__(self, data: Path) -> None:
        dogo, support = multidogo_rows(data), bitext_rows(data)
        written = generated_pools()
        self.noise = Noise(lexicon())
        self.pools: list[Pool] = [clinc_pool(data), bitext_pool(support), *multidogo_pools(dogo), *written]
        weight = {"clinc150": 13.0, "bitext": 2.0}
        weights = [weight.get(p.name, 0.5 if p.name.startswith("multidogo") else 3.0) for p in self.pools]
        self.documents = documents(data, dogo, support)
        maths = [turns[0][1] for turns in self.documents["maths"]]
        free = list({r["text"] for r in dogo if 5 <= len(r["text"].split()) <= 40}) + [m.split(".")[0] for m in maths]
        free += [t for p in (self.pools[0], *written) for ts in p.texts.values() for t in ts]
        self.episodes = Episodes(self.pools, weights, free, self.noise)
        self.written = written
        self.late = False
        """Whether this is the last part of training."""

    def texts(self, rng: random.Random) -> Iterator[str]:
        """What the tokenizer learns from: every text once as it is and once as typed in a hurry, and labels."""
        for pool in self.pools:
            for label, texts in pool.texts.items():
                yield f"{label} {pool.descriptions.get(label, '')} - {label.replace('_', ' ')}"
                for text in texts[:1500]:
                    yield text
                    yield self.noise(text, rng)
        yield from self.said()
        for _ in range(4000):
            yield self.episodes.draw(rng).turns[0][1]

    def said(self) -> Iterator[str]:
        """The chat documents, one text each."""
        for turns in [t for source in self.documents.values() for t in source]:
            yield "\n".join(text for _, text in turns)

    def contexts(self, rng: random.Random) -> Iterator[str]:
        """Texts in which words that mean alike stand alike: a text beside its label, and Hindi words in the place of
        English ones."""
        for pool in self.pools:
            for label, texts in pool.texts.items():
                named = f" {label.replace('_', ' ').lower()} "
                for text in texts[:1500]:
                    yield f"{named}{text}{named}"
                    yield f"{named}{self.noise.mix(text, rng, 0.5)}{named}"
        yield from self.said()

    def draw(self, rng: random.Random) -> tuple[Episode, bool]:
        """An episode, and whether its other text counts too, as language modelling."""
        roll = rng.random()
        if roll < (0.12 if self.late else 0.48):
            return self.episodes.draw(rng), rng.random() < 0.15
        if self.late and roll < 0.93:
            return plain_classification(rng.choice(self.written), self.noise, rng), rng.random() < 0.3
        if roll < (0.97 if self.late else 0.93):
            return plain_classification(self.episodes.pool(rng), self.noise, rng), rng.random() < 0.5
        source = rng.choices(["support", "maths", "turns"], [3, 2, 5])[0]
        turns = rng.choice(self.documents[source])
        if source == "turns" and rng.random() < 0.4:
            turns = [(role, self.noise(text, rng)) for role, text in turns]
        return Episode(turns), True


def encode(episode: Episode, tokenizer: PreTrainedTokenizerFast, text: bool) -> Sequence:
    """The chat template's ids (a test holds them equal to `apply_chat_template`) with the answers marked."""
    special = {role: tokenizer.convert_tokens_to_ids(f"<|{role}|>") for role in ("system", "user", "assistant")}
    ids, answer, answers = [tokenizer.bos_token_id], [False], 0
    for role, content in episode.turns:
        piece = [*tokenizer.encode(content, add_special_tokens=False), tokenizer.eos_token_id]
        counts = role == "assistant" and answers >= episode.skip
        answers += role == "assistant"
        ids += [special[role], *piece]
        answer += [False] + [counts] * len(piece)
    return Sequence(ids, answer, text)


def repetition(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Sequence:
    """Random tokens said twice: nothing but looking back predicts the second time, which is how copying is learnt soonest."""
    said = [rng.randrange(len(tokenizer.all_special_ids), len(tokenizer)) for _ in range(rng.randint(8, 48))]
    ends = [tokenizer.eos_token_id]
    user, assistant = (tokenizer.convert_tokens_to_ids(f"<|{role}|>") for role in ("user", "assistant"))
    ids = [tokenizer.bos_token_id, user, *said, *ends, assistant, *said, *ends]
    return Sequence(ids, [False] * (len(said) + 4) + [True] * (len(said) + 1), False)


def batches(corpus: Corpus, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Iterator[list[Sequence]]:
    """Batches of about BATCH_TOKENS padded tokens, of similar lengths, without end."""
    while True:
        drawn: list[Sequence] = []
        total = 0
        while total < 16 * BATCH_TOKENS:
            if rng.random() < REPETITIONS:
                drawn.append(repetition(tokenizer, rng))
                total += len(drawn[-1].ids)
                continue
            episode, text = corpus.draw(rng)
            sequence = encode(episode, tokenizer, text)
            if len(sequence.ids) > LENGTH:
                if episode.turns[0][0] == "system":
                    continue
                sequence = Sequence(sequence.ids[:LENGTH], sequence.answer[:LENGTH], text)
            drawn.append(sequence)
            total += len(sequence.ids)
        drawn.sort(key=lambda s: len(s.ids))
        made: list[list[Sequence]] = []
        batch: list[Sequence] = []
        for sequence in drawn:
            if batch and (len(batch) + 1) * len(sequence.ids) > BATCH_TOKENS:
                made.append(batch)
                batch = []
            batch.append(sequence)
        made.append(batch)
        rng.shuffle(made)
        yield from made


def new_model(vocabulary: int, tokenizer: PreTrainedTokenizerFast, contexts: Iterable[str] = ()) -> LlamaForCausalLM:
    """The architecture: 6 layers of 256, grouped queries, tied embeddings; 6.5 million parameters."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=2048,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attention_dropout=0.0,
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(first_embeddings(tokenizer, config.hidden_size, contexts))
        for layer in model.model.layers:
            attend_to_alike(layer.self_attn, config)
    return model


def attend_to_alike(attention: torch.nn.Module, config: LlamaConfig) -> None:
    """Every second head starts with equal queries and keys, so that it attends to tokens like its own (Trockman &
    Kolter 2023)."""
    each, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    attention.k_proj.weight.mul_(2.0)
    for head in range(0, config.num_attention_heads, 2):
        key = attention.k_proj.weight[(head // group) * each : (head // group + 1) * each]
        attention.q_proj.weight[head * each : (head + 1) * each] = key


def loss_of(
    model: LlamaForCausalLM, body: Callable[..., Any], batch: list[Sequence], pad: int
) -> tuple[torch.Tensor, float, float]:
    """Mean loss of the answers plus 0.4 of the mean loss of the texts; logits only where a token counts."""
    length = max(len(s.ids) for s in batch)
    ids_bt = torch.tensor([s.ids + [pad] * (length - len(s.ids)) for s in batch])
    answer_bt = torch.tensor([s.answer + [False] * (length - len(s.ids)) for s in batch])
    text_bt = torch.tensor([[s.text] * len(s.ids) + [False] * (length - len(s.ids)) for s in batch]) & ~answer_bt
    # Padding is on the right and attention is causal, so no mask is needed.
    hidden_btd = body(input_ids=ids_bt, use_cache=False).last_hidden_state[:, :-1]
    answer_bt, text_bt, target_bt = answer_bt[:, 1:], text_bt[:, 1:], ids_bt[:, 1:]
    counts_bt = answer_bt | text_bt
    logits = model.lm_head(hidden_btd[counts_bt]).float()
    losses = F.cross_entropy(logits, target_bt[counts_bt], reduction="none")
    is_answer = answer_bt[counts_bt]
    answer, text = losses[is_answer], losses[~is_answer]
    zero = losses.sum() * 0
    answer_loss = answer.mean() if len(answer) else zero
    text_loss = text.mean() if len(text) else zero
    share = len(answer) / max(1, len(losses))
    total = answer_loss + 0.4 * text_loss if len(text) else answer_loss
    return total, answer_loss.item() if share else math.nan, text_loss.item() if len(text) else math.nan


def half_precision() -> bool:
    """Whether this processor multiplies bfloat16 itself; emulated, that is several times slower than float32."""
    flags = Path("/proc/cpuinfo").read_text("utf-8")
    return "amx_bf16" in flags or "avx512_bf16" in flags


def optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    muon = Muon(matrices, lr=0.02, dtype=torch.bfloat16 if half_precision() else torch.float32)
    adam = torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return [muon, adam]


def rate(step: int, steps: int) -> float:
    """Share of the full learning rate: 2% warm-up, then flat, then down to nothing over the last half."""
    return min(1.0, (step + 1) / (0.02 * steps), max(0.0, (steps - step) / (0.5 * steps)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--checkpoint-every", type=int, default=200)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=False)
    options = parser.parse_args()
    run(options)


def run(options: argparse.Namespace) -> None:
    """The whole training, from the tokenizer to the weights."""
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(options.data)
    if rank == 0 and not (options.out / "tokenizer.json").exists():
        save(train(corpus.texts(random.Random(options.seed))), options.out)
    if ranks > 1:
        dist.barrier()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options.out)
    resumed = (options.out / "checkpoint.pt").exists()
    contexts = () if resumed else corpus.contexts(random.Random(options.seed))
    model = new_model(len(tokenizer), tokenizer, contexts)
    if rank == 0:
        print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    steppers = optimizers(model)
    curve: list[dict[str, float]] = []
    start, saved = 0, options.out / "checkpoint.pt"
    if saved.exists():
        state = torch.load(saved, weights_only=False)
        model.load_state_dict(state["model"])
        for optimizer, kept in zip(steppers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        start, curve = state["step"], state["curve"]
    if ranks > 1:
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, 0)
    stream = batches(corpus, tokenizer, random.Random(options.seed + start + 1_000_003 * rank))
    body = torch.compile(model.model, dynamic=True) if options.compile else model.model
    half = half_precision()
    seen, began = 0, time.time()
    sums = [0.0, 0.0, 0, 0]
    for step in range(start, options.steps):
        corpus.late = step >= LATE * options.steps
        batch = next(stream)
        for optimizer in steppers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * rate(step, options.steps)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss, answer, text = loss_of(model, body, batch, tokenizer.pad_token_id)
        loss.backward()
        if ranks > 1:
            average_gradients(model, ranks)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in steppers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen += ranks * sum(len(s.ids) for s in batch)
        for at, value in enumerate((answer, text)):
            if not math.isnan(value):
                sums[at] += value
                sums[at + 2] += 1
        if (step + 1) % 50 == 0:
            row = {
                "step": step + 1,
                "answer_loss": round(sums[0] / max(1, sums[2]), 4),
                "text_loss": round(sums[1] / max(1, sums[3]), 4),
                "tokens_per_second": round(seen / (time.time() - began)),
                "processes": ranks,
            }
            curve.append(row)
            sums = [0.0, 0.0, 0, 0]
            if rank == 0:
                print(json.dumps(row), flush=True)
        if rank == 0 and ((step + 1) % options.checkpoint_every == 0 or step + 1 == options.steps):
            kept = {
                "model": model.state_dict(),
                "optimizers": [o.state_dict() for o in steppers],
                "step": step + 1,
                "curve": curve,
            }
            torch.save(kept, saved.with_suffix(".tmp"))
            os.replace(saved.with_suffix(".tmp"), saved)
            export(model, tokenizer, options.out, curve)


def average_gradients(model: torch.nn.Module, ranks: int) -> None:
    """Every process's gradient becomes the mean of all."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= ranks
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def export(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, curve: list[dict[str, float]]
) -> None:
    """bf16 safetensors with configuration and tokenizer, as `from_pretrained` expects them."""
    folder = out / "model"
    twin = LlamaForCausalLM(model.config).to(torch.bfloat16)
    twin.load_state_dict({name: value.to(torch.bfloat16) for name, value in model.state_dict().items()})
    twin.generation_config.eos_token_id = tokenizer.eos_token_id
    twin.generation_config.pad_token_id = tokenizer.pad_token_id
    twin.save_pretrained(folder)
    save(tokenizer, folder)
    (folder / "curve.json").write_text(json.dumps(curve, indent=0), "utf-8")


if __name__ == "__main__":
    main()
