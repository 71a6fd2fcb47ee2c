"""Data sets that a dataset.toml declares, read by DuckDB into the tables of step 0."""
