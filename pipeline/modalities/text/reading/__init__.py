"""The reading of a pretrained encoder from a folder in the hub's layout: its parts, each exact or refused."""
