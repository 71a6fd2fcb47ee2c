"""The engine for more than one machine holds: Spark, in an environment of its own but for `environment`, `counting`."""
