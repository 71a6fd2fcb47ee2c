"""MovieLens in the layout of its newer editions: CSV files, half stars, no users' attributes."""
