"""Kinds of input that no file outside this folder knows."""
