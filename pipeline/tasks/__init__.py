"""What a model is asked for: its loss, its probabilities, and when two answers are the same."""
