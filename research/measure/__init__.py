"""Evaluations beyond `make evaluate`: degraded answers, diversity, events, experiments, the vector index, baskets."""
