"""What protoc makes of the protocol's file; nothing here is written by hand."""
