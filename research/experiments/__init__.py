"""Comparisons beside the pipeline: tuning, seeds, ablations, another split, rating prediction."""
