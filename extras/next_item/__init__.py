"""The next event: what is rated right after what, as a recall channel, and the recipe with it."""
