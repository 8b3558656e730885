"""What answers: predictions, the Open Inference Protocol, and what the service tells of itself."""
