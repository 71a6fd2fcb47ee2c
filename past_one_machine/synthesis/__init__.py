"""A data set many times as large as the one at hand, with its structure: a fractal expansion."""
