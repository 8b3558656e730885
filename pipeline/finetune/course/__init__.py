"""The course of a training: its epochs, their figures, and what these say."""
