"""What a model is asked for: the loss that trains it, its probabilities, and when two answers are the same."""
