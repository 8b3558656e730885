"""The benchmark: how fast, large and accurate each published artifact is on this machine."""
