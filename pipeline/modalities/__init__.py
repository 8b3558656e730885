"""Kinds of input as training sees them: one room each, behind one protocol."""
