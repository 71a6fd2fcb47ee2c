"""Benchmarks of the running server: load from a process of its own, and what each process of the stack uses."""
