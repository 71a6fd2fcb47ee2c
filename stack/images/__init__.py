"""The images that are built here: how, and what maintainers want to know of them."""
