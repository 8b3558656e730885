"""Pictures, as data and training see them."""
