"""The search for the values of a recipe's fields."""
