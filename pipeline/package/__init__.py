"""The stage ``package``: it builds a Bento from a proven bundle."""
