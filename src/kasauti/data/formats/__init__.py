"""One file a format: a file's place in, its rows out; listed in `kasauti.data.read.READERS`."""
