"""Lets ``python -m mripipe`` do what ``mripipe`` does."""

import sys

from mripipe.cli import main

if __name__ == "__main__":
    sys.exit(main())
