"""The two stages of a recipe, fitted on any past: recall's channels and the ranker of their lists. Pure: no files."""
