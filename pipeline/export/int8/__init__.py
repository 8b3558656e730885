"""8-bit artifacts: dynamic for transformers, static for convolutional networks."""
