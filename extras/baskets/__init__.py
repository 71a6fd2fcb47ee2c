"""Things that are had again: two recall channels, the recipe with them, Ta Feng."""
