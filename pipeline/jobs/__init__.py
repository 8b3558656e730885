"""Predictions of whole tables and folders, which go on where they were stopped."""
