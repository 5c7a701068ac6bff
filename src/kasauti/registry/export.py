"""A version in the form that another engine serves, with a proof that it is asked and answers as it was here.

Walks in: a registry, the number of a version, the name of an engine. Walks out: a folder and its `proof.json`, or a
refusal. It does not know how weights are merged or written, nor templates.

    hf      the merged model in Hugging Face format (`registry.merged`)
    vllm    the adapter, or the merged model where vLLM cannot load the adapter, the chat template, and `serve.sh`
    gguf    one file for llama.cpp
    ollama  the same with a Modelfile

What a proof holds, each part only where it could be looked at: `template`: the served prompt's ids are training's, on
every validation row; `weights`: the numbers of the file, read back, are the merged model's; `tokens` and `answers`:
llama.cpp itself splits those prompts into the same ids and finds the same labels. llama-cpp-python has to be installed
for the last two; `proved` lists what was looked at.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kasauti
from kasauti.approaches.tuned import Tuned
from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.files import STATE, folder_hash, make_folder, read_json, storage_errors, write_json
from kasauti.core.progress import Progress, silent
from kasauti.core.ran import machine, versions
from kasauti.core.types import Example
from kasauti.measure.compare import agreement
from kasauti.registry import vllm
from kasauti.registry.merged import (
    PROOF,
    TOLERANCES,
    Tolerance,
    finite,
    kept_proof,
    merge_version,
    opened,
    proof_rows,
)  # fmt: skip
from kasauti.registry.versions import Registry, Version

FORMAT = 1
QUANTISED = Tolerance(label_agreement=0.98, largest_drift=0.25, log_loss_difference=0.05)
"""For weights of 8 bits, which are other numbers on purpose."""
FILE = "model.gguf"
WEIGHTS = ("f32", "bf16", "f16", "q8_0")
"""How a GGUF file stores matrices; `model.gguf` says more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """An export on disk."""

    folder: Path
    proof: dict[str, Any]
    """What `proof.json` says; `passed` is true."""
    line: str
    """What to type to serve it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What every export is made of."""

    registry: Registry
    approach: Tuned
    version: Version
    rows: Sequence[Example]
    weights: str
    progress: Progress

    @property
    def name(self) -> str:
        """What a runtime calls the model: small letters, digits, dots and hyphens."""
        plain = re.sub(r"[^a-z0-9.]+", "-", self.approach.bench.task.name.lower()).strip("-.")
        return f"{plain or 'model'}-{self.version.number}"

    @property
    def template(self) -> str:
        """The whole chat template as one text, proved on its own conversations."""
        from kasauti.chat.served import check_served, served_template

        bench = self.approach.bench
        text = served_template(bench.frozen)
        check_served(bench.frozen, bench.tokenizer, text)
        return text


def export_version(
    registry: Registry, number: int, to: str, out: str | None = None, *, weights: str = "f16",
    progress: Progress = silent,
) -> Exported:  # fmt: skip
    """A version for another engine: found, or made and proved.

    Args:
        to: one of `TARGETS`.
        out: its folder; None for `.kasauti/exports/<n>-<hash>-<to>` beside the task.
        weights: of a GGUF file: f32, bf16, f16 or q8_0.

    Raises:
        UsageError: the version has no adapter, `out` is taken, or the engine cannot have this model or template.
        KasautiError: the export does not answer as the version does.
    """
    if to not in TARGETS:
        raise UsageError(f"there is no export to {to!r}", mend=f"Known: {', '.join(TARGETS)}.")
    if weights not in WEIGHTS:
        raise UsageError(f"weights are not stored as {weights!r}", mend=f"Known: {', '.join(WEIGHTS)}.")
    if to == "hf":
        made = merge_version(registry, number, out, progress)
        return Exported(folder=made.folder, proof=made.proof, line=f"transformers serve {made.folder}")
    approach, version = opened(registry, number, progress)
    kind = f"{to}-{weights}" if to in ("gguf", "ollama") else to
    name = f"{number}-{version.sha256[:12]}-{kind}"
    target = Path(out) if out else Path(registry.task.folder) / STATE / "exports" / name
    kept = kept_proof(target, version, "export")
    if kept is not None and _is_the_same(kept, to, weights):
        return Exported(folder=target, proof=kept, line=str(kept["serve"]))
    source = Source(
        registry=registry, approach=approach, version=version, rows=proof_rows(registry, version), weights=weights,
        progress=progress,
    )  # fmt: skip
    with storage_errors(target.parent):
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=make_folder(target.parent)))
        part.chmod(0o755)
    try:
        proof = {**_head(source, to), **TARGETS[to](source, part)}
        proof["passed"] = not proof["because"]
        if proof["passed"]:
            with storage_errors(part):
                (part / "README.md").write_text(_readme(source, proof), encoding="utf-8")
            proof["folder_sha256"] = folder_hash(part)
        else:
            for path in part.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_json(part / PROOF, proof)
        with storage_errors(target):
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if not proof["passed"]:
        raise KasautiError(
            f"the export does not answer as version {number} does: {'; '.join(proof['because'])}",
            where=str(target),
            mend="Serve it with `kasauti serve`, or export it to another engine.",
        )
    return Exported(folder=target, proof=proof, line=str(proof["serve"]))


def _is_the_same(kept: dict[str, Any], to: str, weights: str) -> bool:
    """Whether an export that is there is the one that is asked for, and nothing more could be proved of it now."""
    from kasauti.model import llamacpp

    if to == "vllm" or kept.get("to") != to:
        return kept.get("to") == to
    return bool(kept["weights"]["stored"] == weights) and (kept["answers"] is not None or not llamacpp.installed())


def prompts_proof(source: Source, template: str, tokenizer: Any) -> tuple[dict[str, Any], list[str]]:
    """That a server with this template and tokenizer asks with training's ids, on every validation row; rows that are
    shortened here, because they do not fit, are counted apart: a server is sent them as they are."""
    from kasauti.chat.served import served_ids

    asker = source.approach.asker
    same, shortened, first = 0, 0, ""
    for row in source.rows:
        conversation = asker.build(row)
        want = asker.renderer.render_prompt(conversation)
        shortened += len(want) > asker.limit
        if served_ids(tokenizer, template, conversation) == want:
            same += 1
        elif not first:
            first = row.id
    said = {
        "rows": len(source.rows),
        "same_ids": same,
        "shortened_here": shortened,
        "first_that_differs": first or None,
    }
    wrong = len(source.rows) - same
    return said, [f"{wrong} of {len(source.rows)} prompts have other ids, the first of row {first}"] if wrong else []


def answers_proof(source: Source, runtime: Any, template: str, bos: str) -> tuple[dict[str, Any], list[str]]:
    """That llama.cpp splits the prompts into the same ids and finds the same labels."""
    import numpy as np

    from kasauti.chat.served import served_text

    approach, asker = source.approach, source.approach.asker
    before = asker.log_probabilities(source.rows, source.progress, "export: version")
    prompts, after, same = asker.prompts(source.rows), [], 0
    for done, (row, prompt) in enumerate(zip(source.rows, prompts, strict=True), 1):
        text = served_text(asker.loaded.tokenizer, template, asker.build(row)).removeprefix(bos)
        ids = runtime.tokens(text)
        same += ids == asker.renderer.render_prompt(asker.build(row))
        after.append(runtime.label_logs(ids if len(ids) <= asker.limit else prompt, asker.trie))
        source.progress("export: llama.cpp", done, len(source.rows))
    place = {label: at for at, label in enumerate(asker.labels)}
    told = [approach.calibration.apply(logs) for logs in (before, np.array(after))]
    found = agreement(told[0], told[1], [place[row.answer or ""] for row in source.rows])
    tolerance = QUANTISED if source.weights == "q8_0" else TOLERANCES["half"]
    answers = {
        "engine": runtime.name,
        "rows": found.rows,
        "label_agreement": found.label_agreement,
        "largest_probability_drift": finite(found.largest_drift),
        "mean_probability_drift": finite(found.mean_drift),
        "log_loss": {"version": finite(found.log_loss_a), "export": finite(found.log_loss_b)},
        "tolerance": asdict(tolerance),
    }
    because = tolerance.refuses(found)
    if same < len(source.rows):
        because.append(f"llama.cpp splits {len(source.rows) - same} of {len(source.rows)} prompts into other tokens")
    return {"tokens": {"rows": len(source.rows), "same_ids": same}, "answers": answers}, because


def _head(source: Source, to: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "to": to,
        "passed": False,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kasauti": kasauti.__version__,
        "version": source.version.number,
        "version_sha256": source.version.sha256,
        "template_sha256": source.approach.bench.frozen.sha256,
        "ran": {"machine": machine(), "versions": versions()},
    }


def _readme(source: Source, proof: dict[str, Any]) -> str:
    """How the export is served and asked: with the turns of training, which no engine makes from a row."""
    task = source.approach.bench.task
    turns = [{"role": "system", "content": task.instructions}] if task.instructions else []
    body = {"model": source.name, "temperature": 0, "messages": [*turns, {"role": "user", "content": task.input}]}
    asked = json.dumps(body, ensure_ascii=False, indent=1)
    return (
        f"# {source.name}\n\nVersion {source.version.number} of the task {task.name}; `proof.json` says what was "
        f"compared with it.\n\nServed from this folder by\n\n```\n{proof['serve']}\n```\n\nand asked as it was "
        f"trained, each column in braces replaced by its text:\n\n```json\n{asked}\n```\n\n"
        f"The answer is one of: {', '.join(task.labels)}. Anything else stands for {task.fallback or 'no answer'}.\n"
    )


def _gguf(source: Source, part: Path) -> dict[str, Any]:
    """`model.gguf`, proved by llama.cpp where it is installed."""
    from kasauti.chat.served import served_template
    from kasauti.model import llamacpp
    from kasauti.model.gguf import check, write_gguf
    from kasauti.model.gguf_words import words_of

    bench, asker = source.approach.bench, source.approach.asker
    template, frozen = source.template, bench.frozen
    bos = str(bench.tokenizer.bos_token or "") if frozen.bos == "one" else ""
    words = words_of(bench.tokenizer, template=template, end_id=frozen.frame.end_id, add_bos=bool(bos))
    said, because = prompts_proof(source, served_template(frozen), bench.tokenizer)
    merged = merge_version(source.registry, source.version.number, progress=source.progress)
    check(merged.folder)
    written = write_gguf(merged.folder, part / FILE, words, weights=source.weights, name=source.name)
    proof: dict[str, Any] = {
        "merge": _figures(merged.proof),
        "template": said,
        "weights": {
            "stored": source.weights,
            "tensors": written.tensors,
            "largest_difference": written.largest_difference,
        },
        "rule": {"name": words.rule, "other_tokens_in": words.caveat or None},
        "tokens": None,
        "answers": None,
        "proved": ["template", "weights"],
        "serve": f"llama-server --model {FILE} --jinja --ctx-size {asker.limit + asker.reserve}",
    }
    if llamacpp.installed():
        with llamacpp.Runtime(part / FILE, asker.limit + asker.reserve) as runtime:
            found, wrong = answers_proof(source, runtime, template, bos)
        proof.update(found, proved=[*proof["proved"], "tokens", "answers"])
        because += wrong
    return {**proof, "because": because}


def _ollama(source: Source, part: Path) -> dict[str, Any]:
    """The GGUF file with a Modelfile."""
    from kasauti.chat.ollama import modelfile, ollama_template

    bench, asker = source.approach.bench, source.approach.asker
    bos = str(bench.tokenizer.bos_token or "") if bench.frozen.bos == "one" else ""
    template = ollama_template(asker.renderer, without=bos)  # refused before anything long
    proof = _gguf(source, part)
    longest = max(len(path) for path in asker.trie.label_edges)
    text = modelfile(
        template,
        file=FILE,
        system=bench.task.instructions,
        stops=[str(bench.tokenizer.convert_ids_to_tokens(stop)) for stop in asker.renderer.stop_ids],
        window=asker.limit + asker.reserve,
        most=longest + 8,
    )
    conversations = [[(turn.role, turn.content) for turn in asker.build(row)] for row in source.rows]
    wanted = [asker.renderer.prompt_text(asker.build(row))[0].removeprefix(bos) for row in source.rows]
    same = sum(template.render(turns) == want for turns, want in zip(conversations, wanted, strict=True))
    if same < len(wanted):
        proof["because"].append(f"Ollama's template writes {len(wanted) - same} of {len(wanted)} prompts otherwise")
    with storage_errors(part):
        (part / "Modelfile").write_text(text, encoding="utf-8")
    proof["modelfile"] = {"rows": len(wanted), "same_text": same, "keeps_outer_white_space": template.trims}
    proof["serve"] = f"ollama create {source.name} -f Modelfile && ollama run {source.name}"
    return proof


def _vllm(source: Source, part: Path) -> dict[str, Any]:
    """The adapter on its base, or the merged model; the template; the line that serves them."""
    adapter = read_json(source.version.folder / "adapter_config.json")
    why = vllm.why_merged(adapter, four_bit=source.approach.bench.four_bit)
    template = source.template
    asker = source.approach.asker
    window = asker.limit + asker.reserve
    proof: dict[str, Any] = {"adapter": why is None, "merged_because": why}
    with storage_errors(part):
        (part / vllm.TEMPLATE).write_text(template, encoding="utf-8")
        if why is None:
            shutil.copytree(source.approach.adapter, part / "adapter", ignore=shutil.ignore_patterns("*.yaml", "*.md"))
            line = vllm.adapter_line(vllm.base_of(source.approach.bench.task), source.name, int(adapter["r"]), window)
        else:
            merged = merge_version(source.registry, source.version.number, progress=source.progress)
            proof["merge"] = _figures(merged.proof)
            shutil.copytree(merged.folder, part / "model", ignore=shutil.ignore_patterns(PROOF))
            line = vllm.merged_line(source.name, window)
        vllm.write_script(part, line)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(part / ("adapter" if why is None else "model"))
    said, because = prompts_proof(source, (part / vllm.TEMPLATE).read_text("utf-8"), tokenizer)
    return {**proof, "template": said, "proved": ["template"], "serve": line, "because": because}


def _figures(proof: dict[str, Any]) -> dict[str, Any]:
    """What a merge's proof says in figures."""
    names = ("rows", "label_agreement", "largest_probability_drift", "log_loss", "base", "merged")
    return {name: proof[name] for name in names}


TARGETS: dict[str, Callable[[Source, Path], dict[str, Any]]] = {
    "hf": lambda source, part: {},  # a merge as it is
    "vllm": _vllm,
    "gguf": _gguf,
    "ollama": _ollama,
}
"""One function an engine: fills an empty folder, and gives the fields of its proof."""
