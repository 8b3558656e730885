"""The model repository of a run: the same proven bytes, as the Triton Inference Server takes them."""
