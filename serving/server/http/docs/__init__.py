"""The OpenAPI document, made for the model that answers: its inputs, its labels."""

from serving.server.http.docs.document import describe_service

__all__ = ["describe_service"]
