"""The engine for more than one machine holds: Spark. Everything but `environment` runs in Spark's own environment."""
