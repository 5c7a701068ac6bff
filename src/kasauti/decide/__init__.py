"""Is it worth shipping? Fits and judges every approach on the same rows, prices them, gives the verdict, draws the
report."""
