"""The carriers: one folder per dialect, and ``carrier.py``, the words they share.

A dialect is pure text work: signatures checked, webhooks and media messages read, answers and requests built, and the
same things the other way round for the simulator. No clock, no socket, no credential lives here; nothing outside a
dialect's own folder may name it.
"""

from __future__ import annotations

__all__: list[str] = []
