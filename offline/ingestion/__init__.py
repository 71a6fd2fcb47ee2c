"""From MovieLens as it is published, at hand or on the network, to three checked tables."""
