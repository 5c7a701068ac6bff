"""One file a check; each is a function from a task and its split to findings, listed in `kasauti.data.audit.CHECKS`."""
