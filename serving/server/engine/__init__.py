"""From requests to predictions: admission, worker threads, batching, and the model that serves requests."""
