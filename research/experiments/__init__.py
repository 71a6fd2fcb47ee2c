"""Comparisons outside the pipeline: tuning, seeds, other splits."""
