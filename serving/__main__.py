"""``python -m serving``."""

from serving.server.cli import main

if __name__ == "__main__":
    main()
