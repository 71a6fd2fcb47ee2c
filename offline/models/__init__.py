"""Models, one file each: `fm`, `deepfm` (recipe source); `tower`, `ease`, `list_ranker` (recipe default)."""
