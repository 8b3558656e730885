"""How requests become predictions: admission, threads, batches, and the model that answers now."""
