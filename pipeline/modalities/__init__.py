"""What training needs to know of a kind of input."""
