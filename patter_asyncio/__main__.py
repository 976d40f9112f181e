"""``python -m patter_asyncio``: the command line, on asyncio."""

import sys

from patter_core.edge.cli import main

sys.exit(main(loop_name="patter_asyncio"))
