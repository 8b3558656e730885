"""What is kept of an unfinished training, so that the same command goes on from there, bit by bit."""
