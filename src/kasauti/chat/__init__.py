"""How a row becomes tokens, and tokens an answer. Imports neither torch nor transformers; knows only the core.

template.py    freeze a tokenizer's template; check that a tokenizer is still the same
frozen.py      the frozen template as a value, and its file
render.py      messages → ids to ask or to train on; ids → answer
encode.py      text → ids, without a user's text becoming a control token
supervise.py   ids and labels
proof.py       the proof over every row
view.py        tokens for human eyes
known.py       templates that a task may name
"""
