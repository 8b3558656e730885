"""The checkpoint's evaluation on data that it has never seen."""
