"""The ways to train a classifier: what trains, at which rate, and when."""
