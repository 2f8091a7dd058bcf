"""python -m minihire"""

import sys

from minihire.cli import main

if __name__ == "__main__":
    sys.exit(main())
