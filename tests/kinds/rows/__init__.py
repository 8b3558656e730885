"""Rows of numbers, as a package of somebody else's would bring them."""
