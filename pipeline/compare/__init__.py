"""The comparison of backbones, and of numbers of samples."""
