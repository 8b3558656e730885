"""The draft of a recipe: what ``graft init`` finds in the data, and what it writes."""
