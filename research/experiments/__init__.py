"""Comparisons beside the pipeline: tuning, seeds, other splits."""
