"""A model repository of the Triton Inference Server."""
