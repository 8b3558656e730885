"""The budget of a container: what it measures, against the limits of the recipe."""
