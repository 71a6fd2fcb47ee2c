"""Several nodes of a service on this machine, as a cluster."""
