"""Request bytes to model input, one module a modality."""
