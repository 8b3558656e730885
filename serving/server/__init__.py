"""The prediction service: one ASGI application, and the processes that run it."""
