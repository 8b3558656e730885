"""Kinds of input: for each one object that says all that the service and the client must know of it."""
