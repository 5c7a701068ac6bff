"""Answers questions: a batching engine and a thin application over HTTP. Requests in, calibrated answers out; it knows
no training."""
