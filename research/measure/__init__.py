"""Benchmarks that need both sides: the vector index against the exact search, one recipe against the other."""
