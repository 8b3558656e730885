"""The division of the samples into splits: by what the data say, by hash, by group or by time."""
