"""The machine: what it has, and how work is done on it."""
