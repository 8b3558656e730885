"""What the checkpoint is worth on data that it has never seen."""
