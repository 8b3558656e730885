"""From the checkpoint to the model files that are served, once they are proven."""
