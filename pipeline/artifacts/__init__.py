"""What a run makes of a model: its catalogue, and the forms in which it is kept."""
