"""Repeat purchases: two recall channels, the recipe with them, the Ta Feng data set."""
