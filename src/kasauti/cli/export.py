"""`kasauti export`: a version for another engine, proved."""

from __future__ import annotations

import argparse

from kasauti.cli.command import CommandResult, open_task
from kasauti.cli.draw import percent

HELP = "write a version for Transformers, vLLM, llama.cpp or Ollama, with a proof"
ABOUT = """Write version N in the form that another engine serves: hf (the merged model), vllm (adapter or merged model,
chat template, serve.sh), gguf (one file for llama.cpp), ollama (the same with a Modelfile). The prompt that the engine
renders is compared with training's on every validation row, and weights are read back. Where llama-cpp-python is
installed, llama.cpp itself loads the file, and its labels are compared with the version's. Refuses, with exit code 1,
what is further off than a stated tolerance. Leaves a folder with proof.json."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of export."""
    parser.add_argument("number", metavar="N", type=int, help="the version")
    parser.add_argument("--to", metavar="ENGINE", required=True, help="hf, vllm, gguf or ollama")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="folder of the export (default: .kasauti/exports/N-<hash>-ENGINE, hf: .kasauti/merged/N-<hash>)",
    )
    parser.add_argument(
        "--weights", metavar="TYPE", default="f16", help="gguf, ollama: f32, bf16, f16 or q8_0 (default: f16)"
    )


def run(args: argparse.Namespace) -> CommandResult:
    """Export and prove."""
    from kasauti.registry.export import export_version
    from kasauti.registry.versions import Registry

    registry = Registry(open_task(args))
    made = export_version(registry, args.number, args.to, args.output, weights=args.weights, progress=args.progress)
    document = {"folder": str(made.folder), "serve": made.line, **made.proof}
    return CommandResult(document, [*said(made.proof), f"Folder: {made.folder}", f"Serve:  {made.line}"])


def said(proof: dict[str, object]) -> list[str]:
    """What a proof says, for people."""
    lines = []
    template, answers, merge = proof.get("template"), proof.get("answers"), proof.get("merge") or proof
    if isinstance(template, dict):
        lines.append(
            f"The prompts of {template['same_ids']} of {template['rows']} validation rows have training's ids."
        )
    if isinstance(merge, dict) and "label_agreement" in merge:
        lines.append(f"Merged weights: labels agree on {percent(merge['label_agreement'])} of {merge['rows']} rows.")
    if isinstance(answers, dict):
        lines.append(
            f"llama.cpp: labels agree on {percent(answers['label_agreement'])} of {answers['rows']} rows; the largest "
            f"change of a probability is {answers['largest_probability_drift']:.2g}."
        )
    elif "answers" in proof:
        lines.append("Not asked here: llama.cpp is not installed (pip install llama-cpp-python).")
    rule = proof.get("rule")
    if isinstance(rule, dict) and rule["other_tokens_in"]:
        lines.append(f"Other tokens than here in texts with {rule['other_tokens_in']}.")
    return lines
