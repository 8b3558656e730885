"""The proof: each artifact against the checkpoint, and what becomes of it."""
