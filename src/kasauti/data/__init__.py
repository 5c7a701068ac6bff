"""Which rows do we learn from? Reading, normal form, splits without leaks, and all that is wrong with the data."""
