"""Pages for people: one to try the model, one to read the API. Neither loads anything from elsewhere."""
