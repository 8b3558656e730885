"""How the service runs: its command line, its processes, and their connections."""
