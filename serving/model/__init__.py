"""The bundle format, and the code that turns the bytes of one input into a prediction."""
