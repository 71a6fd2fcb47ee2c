"""Abilities around the pipeline, one folder each. Imports the pipeline; the pipeline imports nothing of it."""
