"""From a pretrained backbone and samples to a checkpoint."""
