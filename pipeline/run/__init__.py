"""A recipe carried out, and what can be asked of its result."""
