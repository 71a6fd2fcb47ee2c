"""Rivals of the recipe: models of other libraries, simple models of our own, and their best fusion."""
