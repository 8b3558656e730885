"""The libraries that networks of pictures come from, each behind the same few functions."""
