"""Evaluation beyond one table: protocols, slices, baselines, comparisons, thresholds, figures."""
