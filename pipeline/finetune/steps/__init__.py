"""What a step of a training does: batches, the loss, the rate, the average of the weights."""
