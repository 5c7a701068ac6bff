"""A version's adapter merged into its base, with a proof that the merged model answers as the version did.

Walks in: a registry, the number of a version. Walks out: a model folder and its `proof.json`, or a refusal. It does not
know how weights are added (`model.merge`).

    <out>/            a model in Hugging Face format, with its tokenizer and the frozen chat template
    <out>/proof.json  the figures; written last

The proof loads the folder from disk and asks it for the probability of every label on every validation row, as the
version with its adapter was asked. It refuses above `TOLERANCES`; then only the proof is left in the folder.
"""

from __future__ import annotations

import gc
import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kasauti
from kasauti.approaches.ask import Asker
from kasauti.approaches.tuned import Tuned
from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.files import (
    STATE,
    content_hash,
    file_hash,
    folder_hash,
    make_folder,
    read_json,
    storage_errors,
    write_json,
)  # fmt: skip
from kasauti.core.progress import Progress, silent
from kasauti.core.ran import machine, versions
from kasauti.core.types import Example
from kasauti.data.split import load_split
from kasauti.measure.compare import Agreement, agreement
from kasauti.registry.card import card_text
from kasauti.registry.versions import Registry, Version

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROOF = "proof.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How far a merged model may be from the adapter."""

    label_agreement: float
    """At least this share of rows has the same most probable label."""
    largest_drift: float
    """No label's calibrated probability moves further in any row."""
    log_loss_difference: float
    """The loss moves no further, in nats, either way."""

    def refuses(self, found: Agreement) -> list[str]:
        """What is out of tolerance, a sentence each; empty where the proof holds. A figure that is no number is out."""
        said = []
        if not found.label_agreement >= self.label_agreement:
            said.append(
                f"labels agree on {found.label_agreement:.2%} of the rows (at least {self.label_agreement:.2%})"
            )
        if not found.largest_drift <= self.largest_drift:
            said.append(f"a probability moves by {found.largest_drift:.2g} (at most {self.largest_drift:g})")
        if not abs(found.log_loss_difference) <= self.log_loss_difference:
            said.append(f"the log loss moves by {found.log_loss_difference:.2g} (at most {self.log_loss_difference:g})")
        return said


TOLERANCES = {
    "float32": Tolerance(label_agreement=0.999, largest_drift=1e-3, log_loss_difference=1e-4),
    "half": Tolerance(label_agreement=0.99, largest_drift=0.05, log_loss_difference=0.01),
}
"""`float32` where base and merged weights are both in float32: what is left is the order of additions. `half` where
either is in 16 or 4 bit: a sum of two numbers is then rounded to 8 or 11 bits, in every weight."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """A merged model on disk."""

    folder: Path
    proof: dict[str, Any]
    """What `proof.json` says; `passed` is true."""


def merge_version(registry: Registry, number: int, out: str | None = None, progress: Progress = silent) -> Merged:
    """The merged model of a version: found, or made and proved.

    Args:
        out: its folder; None for `.kasauti/merged/<n>-<hash>` beside the task.

    Raises:
        UsageError: the version has no adapter, or `out` is taken.
        KasautiError: the merged model does not answer as the version does.
    """
    approach, version = opened(registry, number, progress)
    name = f"{number}-{version.sha256[:12]}"
    target = Path(out) if out else Path(registry.task.folder) / STATE / "merged" / name
    if (kept := kept_proof(target, version)) is not None:
        return Merged(folder=target, proof=kept)
    rows = proof_rows(registry, version)
    with storage_errors(target.parent):
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=make_folder(target.parent)))
        part.chmod(0o755)
    try:
        before = approach.asker.log_probabilities(rows, progress, "merge: adapter")
        was = _merge(approach, version, part, progress)
        proof = _prove(approach, version, part, rows, before, was, progress)
        verdict = read_json(version.folder / "verdict.json")
        with storage_errors(part):
            (part / "README.md").write_text(card_text(version.card, verdict, proof), encoding="utf-8")
        proof["folder_sha256"] = folder_hash(part)
        write_json(part / PROOF, proof)
        if not proof["passed"]:
            for path in part.iterdir():
                if path.name != PROOF:
                    path.unlink()
        with storage_errors(target):
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return _passed(target, proof)


def prove_folder(registry: Registry, number: int, folder: str, progress: Progress = silent) -> Merged:
    """Prove a merged folder once more, as it lies on the disk now.

    Raises:
        UsageError: the version has no adapter, or the folder no model.
        KasautiError: it does not answer as the version does.
    """
    approach, version = opened(registry, number, progress)
    rows = proof_rows(registry, version)
    before = approach.asker.log_probabilities(rows, progress, "merge: adapter")
    proof = _prove(approach, version, Path(folder), rows, before, _weights(approach.asker.loaded.model), progress)
    return _passed(Path(folder), proof)


def opened(registry: Registry, number: int, progress: Progress = silent) -> tuple[Tuned, Version]:
    """A version that has an adapter.

    Raises:
        UsageError: it has none, or one that cannot be merged.
    """
    approach, version = registry.open(number, progress)
    if not isinstance(approach, Tuned) or not (version.folder / "adapter_config.json").exists():
        mend = "Only a tuned version by LoRA or QLoRA is merged; the others are served as they are."
        raise UsageError(f"version {number} ({version.card['approach']}) has no adapter", mend=mend)
    if read_json(version.folder / "adapter_config.json").get("alora_invocation_tokens"):
        raise UsageError(
            f"the adapter of version {number} is off on what every prompt begins with (train.constant_prefix), and "
            "merged weights would be on everywhere",
            mend="Serve it with `kasauti serve`, or train without constant_prefix.",
        )
    return approach, version


def kept_proof(target: Path, version: Version, what: str = "merged model") -> dict[str, Any] | None:
    """The proof of what was made of the same version before, where its files are as they were; None where there is
    nothing, or it is to be made anew.

    Raises:
        UsageError: something else is there.
    """
    if not target.exists():
        return None
    path = target / PROOF
    if not path.is_file():
        if target.is_dir() and not any(target.iterdir()):
            return None
        raise UsageError(f"is there already and is no {what}", where=str(target), mend="Name another folder.")
    proof = read_json(path)
    if proof.get("version_sha256") != version.sha256:
        mend = "Name another folder."
        raise UsageError(f"holds the {what} of another version", where=str(target), mend=mend)
    return dict(proof) if proof.get("passed") and hash_without_proof(target) == proof.get("folder_sha256") else None


def hash_without_proof(folder: Path) -> str:
    """`folder_hash` without the proof, which holds it."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p != folder / PROOF)
    return content_hash([[name, file_hash(folder / name)] for name in names])


def proof_rows(registry: Registry, version: Version) -> list[Example]:
    """The validation rows that a proof is about.

    Raises:
        UsageError: there are none.
    """
    split, _ = load_split(registry.task)
    labels = set(version.card["evaluation"]["per_class"])
    rows = [row for row in split.validation if row.answer in labels]
    if not rows:
        raise UsageError("there are no validation rows to prove it on", where="task.yaml: data", mend="Add some.")
    return rows


def _merge(approach: Tuned, version: Version, part: Path, progress: Progress) -> str:
    """Merge into a new folder; what the base's weights were."""
    from kasauti.chat.frozen import FrozenTemplate
    from kasauti.model.merge import merge_adapter

    progress("merge", 0, 1)
    base = approach.bench.fresh()
    was = _weights(base.model)
    frozen = FrozenTemplate.load(version.folder)
    if frozen.origin != "tokenizer":
        base.tokenizer.chat_template = frozen.text
    merge_adapter(base, str(version.folder), part)
    frozen.save(part)
    del base
    gc.collect()
    progress("merge", 1, 1)
    return was


def _weights(model: Any) -> str:
    """`nf4`, or the dtype of the weights."""
    from kasauti.model import quantise

    return "nf4" if quantise.layers(model) else str(next(model.parameters()).dtype).removeprefix("torch.")


def _prove(
    approach: Tuned, version: Version, folder: Path, rows: Sequence[Example], before: NDArray[np.float64],
    was: str, progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """The figures of the model that lies in a folder, against the version's own."""
    from kasauti.chat.frozen import FrozenTemplate
    from kasauti.chat.template import check_same
    from kasauti.model.load import load

    bench, task = approach.bench, approach.bench.task
    loaded = load(str(folder), task.folder)  # from the disk, nothing of the model that was merged in memory
    check_same(FrozenTemplate.load(folder), loaded.tokenizer)
    asker = Asker(loaded, bench.frozen, task, approach.conversation, approach.length)
    after = asker.log_probabilities(rows, progress, "merge: proof")
    place = {label: at for at, label in enumerate(asker.labels)}
    told = [approach.calibration.apply(logs) for logs in (before, after)]
    found = agreement(told[0], told[1], [place[row.answer or ""] for row in rows])
    now = _weights(loaded.model)
    tolerance = TOLERANCES["float32" if was == now == "float32" else "half"]
    said = tolerance.refuses(found)
    return {
        "format": FORMAT,
        "passed": not said,
        "because": said,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kasauti": kasauti.__version__,
        "version": version.number,
        "version_sha256": version.sha256,
        "base": {"id": task.model, "sha256": version.card["model"].get("sha256"), "weights": was},
        "merged": {"weights": now},
        "template_sha256": bench.frozen.sha256,
        "rows": found.rows,
        "rows_sha256": content_hash(sorted(row.id for row in rows)),
        "label_agreement": found.label_agreement,
        "largest_probability_drift": finite(found.largest_drift),
        "mean_probability_drift": finite(found.mean_drift),
        "log_loss": {
            "adapter": finite(found.log_loss_a),
            "merged": finite(found.log_loss_b),
            "difference": finite(found.log_loss_difference),
        },
        "tolerance": asdict(tolerance),
        "ran": {"machine": machine(), "versions": versions(), "device": str(loaded.model.device)},
    }


def finite(value: float) -> float | None:
    """The number, or None for what JSON has no number for."""
    return value if math.isfinite(value) else None


def _passed(folder: Path, proof: dict[str, Any]) -> Merged:
    if not proof["passed"]:
        raise KasautiError(
            f"the merged model does not answer as version {proof['version']} does: {'; '.join(proof['because'])}",
            where=str(folder),
            mend="Serve the version with its adapter, and merge again with the libraries that trained it.",
        )
    return Merged(folder=folder, proof=proof)
