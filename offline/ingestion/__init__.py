"""From a data set as it comes, declared in a dataset.toml or MovieLens, to three checked tables."""
