"""Answers: which label, how fast, at equal answers."""
