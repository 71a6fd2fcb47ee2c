"""Strong baselines and models of other libraries, tuned as the recipe is: ``make rivals``."""
