"""How fast, large and good each published artifact is on this machine."""
