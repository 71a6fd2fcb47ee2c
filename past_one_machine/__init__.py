"""Larger data and several machines: Spark, clusters of the services, Kubernetes. The pipeline does not know of it."""
