"""Request bodies: how each kind of input arrives over HTTP, and how it is read out as bytes."""
