"""The artifacts that a run makes of a model: their catalogue, and the forms in which they are kept."""
