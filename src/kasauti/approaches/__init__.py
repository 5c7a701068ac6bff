"""Everything that can answer the task: one file each, one contract. Training and validation rows in, predictions out;
never a test row in `fit`."""
