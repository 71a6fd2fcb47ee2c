"""Evaluation: metrics, the offline replay of held-out events, one table."""
