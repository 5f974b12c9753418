"""`python -m jaxsolve`: see `python -m jaxsolve --help`."""

import sys

from jaxsolve.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
