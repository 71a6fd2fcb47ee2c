"""Measuring the running server: a load from a process of its own, what each process of the stack uses, and tables."""
