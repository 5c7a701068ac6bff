"""The room as a whole: what importing it costs, and that it carries real loads."""

from __future__ import annotations

import subprocess
import sys
import time

from kasauti.chat.proof import prove
from kasauti.chat.template import freeze


def test_importing_the_room_loads_neither_torch_nor_transformers():
    code = (
        "import sys, kasauti.chat.proof, kasauti.chat.template\n"
        "sys.exit(bool({'torch', 'transformers', 'jinja2', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=False)
    assert done.returncode == 0


def test_two_thousand_rows_are_proved_in_seconds(family, talk):
    """Measured at 0.5 to 0.9 ms a row (100 to 240 tokens) on two busy cores; the bound leaves room for slower ones."""
    tokenizer = family("llama3_2")
    system = "You are a payment dispute classifier. Respond with only the category name, nothing else."
    rows = [(i, talk(f"Complaint {i}: the refund of my payment has not come", system), "other") for i in range(1, 2001)]
    frozen = freeze(tokenizer)
    start = time.perf_counter()
    assert prove(frozen, tokenizer, rows).rows == 2000
    assert time.perf_counter() - start < 15
