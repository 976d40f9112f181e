"""``python -m patter_trio``: the command line, on trio."""

import sys

from patter_core.edge.cli import main

sys.exit(main(loop_name="patter_trio"))
