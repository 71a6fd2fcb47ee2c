"""Research: baselines, tuning, benchmarks, and the tables of the READMEs. Nothing imports it."""
