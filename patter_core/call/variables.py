"""What ``{names}`` in the agent's texts stand for in one call."""

from __future__ import annotations

from collections.abc import Mapping

from .spec import CallSpec

__all__ = ["known_variables"]

_LENGTH = 500  # characters of a value that came with the call
_MOST = 50


def known_variables(own: Mapping[str, str], parameters: Mapping[str, str], spec: CallSpec) -> dict[str, str]:
    """The operator's, which win; then who is calling whom; then the stream's parameters, in one line each: what came
    with the call must not be able to look like an instruction of its own."""
    found: dict[str, str] = {}
    for name, value in list(parameters.items())[:_MOST]:
        found[name] = " ".join("".join(c if c.isprintable() else " " for c in value[:_LENGTH]).split())
    found |= {"call_id": spec.call_id, "caller": spec.caller, "callee": spec.callee, "direction": spec.direction}
    return found | dict(own)
