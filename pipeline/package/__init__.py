"""From a proven bundle to a Bento."""
