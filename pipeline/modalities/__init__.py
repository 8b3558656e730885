"""What training needs to know of a kind of input: one room each, behind one protocol."""
