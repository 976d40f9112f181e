"""All scenarios, in the order they are played."""

from __future__ import annotations

from . import connections, dialling, handlers, life, requests
from .scenario import Scenario

__all__ = ["SCENARIOS"]

SCENARIOS: tuple[type[Scenario], ...] = (
    *connections.SCENARIOS,
    *dialling.SCENARIOS,
    *requests.SCENARIOS,
    *handlers.SCENARIOS,
    *life.SCENARIOS,
)
