"""The contract and the runtime: what a bundle is, and how bytes become predictions. No training code."""
