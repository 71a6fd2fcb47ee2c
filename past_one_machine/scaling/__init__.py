"""How the steps' costs grow with the data, measured on expansions of one data set, and what that means for more."""
