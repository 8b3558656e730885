"""Layouts of folders: where the split and the label of a file stand in its path."""
