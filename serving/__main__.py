"""``python -m serving``."""

from serving.server.process.cli import main

if __name__ == "__main__":
    main()
