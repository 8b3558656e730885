"""The recipe: every choice of a run, checked before any work starts."""
