"""`python -m gendi`: the command line."""

import sys

from gendi.cli import main

if __name__ == "__main__":
    sys.exit(main())
