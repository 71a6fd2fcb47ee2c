"""Why an item is in the list, and why another is not."""
