"""Texts, as data and training see them."""
