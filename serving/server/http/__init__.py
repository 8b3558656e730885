"""The service's HTTP interface: one ASGI application."""
