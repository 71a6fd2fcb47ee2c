"""Comparisons of settings and columns for the models of rated pairs, and the spread of those models over seeds."""
