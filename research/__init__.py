"""Research: baselines, tuning, ablations, benchmarks, and the tables of the READMEs. Nothing imports it."""
