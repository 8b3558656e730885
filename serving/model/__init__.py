"""The contract and the runtime: what a bundle is, and how the bytes of an input become a prediction."""
