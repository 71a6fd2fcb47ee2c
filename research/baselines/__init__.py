"""Recommenders of others, as strong as they can be made, beside the recipe: ``make rivals``."""
