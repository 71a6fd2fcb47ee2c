"""Evaluation: metrics, baselines and the offline replay of held-out events."""
