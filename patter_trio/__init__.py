"""patter on trio: carries out a board's orders and reports what happened. It decides nothing.

The core's public names are here too, so that one import is enough.
"""

from __future__ import annotations

from patter_core import *  # noqa: F403
from patter_core import __all__ as _core
from patter_core.edge.control import CallControl

from ._call import run_call
from ._drive import Drive, carry
from ._patter import Patter
from ._run import run
from ._together import together

__all__ = ["CallControl", "Drive", "Patter", "carry", "run", "run_call", "together", *_core]
