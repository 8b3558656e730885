"""The Bento of a run: the service as BentoML stores, serves and containerizes it."""
