"""Research: benchmarks, measurements, and the tables of the READMEs. Nothing imports it."""
