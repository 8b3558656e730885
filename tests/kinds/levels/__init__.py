"""Recordings of loudness: files, from a wheel."""
