"""From labelled files to a table of samples in three splits."""
