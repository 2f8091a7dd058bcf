"""python -m minihire"""

import sys

from minihire.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
