"""The OpenAPI document, made from the table of endpoints for the model that answers."""
