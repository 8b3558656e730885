"""What this machine has, and how work is done on it."""
