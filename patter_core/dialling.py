"""From ``phone.call(...)`` to the call that is dialled: arguments checked, defaults filled in, a name given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from .call.spec import CallSpec
from .carriers.carrier import CarrierSpec, DialPlan
from .config import AgentSpec, HandlerSpec, ServerConfig, fill
from .plain import plain

__all__ = ["DEFAULT_RING_S", "BadDial", "dial_spec", "valid_number"]

DEFAULT_RING_S = 25
"""A phone's voicemail usually takes over after 25 to 30 seconds."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_MESSAGE_CHARS = 5_000


class BadDial(msgspec.Struct, frozen=True):
    """The call cannot be placed like this; ``detail`` says what would do."""

    detail: str


def valid_number(text: str) -> bool:
    """An E.164 number: ``+``, country code, number; 7 to 15 digits."""
    return _E164.fullmatch(text) is not None


def dial_spec(
    config: ServerConfig, args: Mapping[str, Any], *, ref: str, origin: str, epoch: int
) -> CallSpec | BadDial:
    """The call that the ``call`` command asks for. ``ref`` is its name until the carrier gives it one."""
    to = args.get("to")
    if not isinstance(to, str) or not valid_number(to):
        return BadDial("to must be an E.164 number, such as +15550001234")
    carrier = _carrier(config, args.get("carrier", ""))
    if carrier is None:
        return BadDial(f"carrier must be one of {', '.join(one.name for one in config.carriers)}")
    if not carrier.account:
        where = "account (for Telnyx the connection: TELNYX_CONNECTION_ID)"
        return BadDial(f"{carrier.name} cannot dial: its {where} is not configured")
    caller = args.get("from_number") or (config.numbers[0] if config.numbers else "")
    if not isinstance(caller, str) or not valid_number(caller):
        return BadDial("from_number must be one of your numbers in E.164 form (or set phone_number=)")
    ring = args.get("ring_timeout")
    ring = DEFAULT_RING_S if ring is None else ring
    if isinstance(ring, bool) or not isinstance(ring, int | float) or not 5 <= ring <= 600:
        return BadDial("ring_timeout must be 5 to 600 seconds")
    agent = args.get("agent")
    if agent is None:
        agent = config.agent_for(caller)
    if not isinstance(agent, AgentSpec):
        return BadDial("agent= is missing: no agent is served for this number")
    texts = {name: plain(args.get(name) or "") for name in ("first_message", "voicemail_message")}
    for name, text in texts.items():
        if not isinstance(text, str) or len(text) > _MESSAGE_CHARS:
            return BadDial(f"{name} must be text of at most {_MESSAGE_CHARS} characters")
    variables = args.get("variables") or {}
    if not isinstance(variables, Mapping):
        return BadDial("variables must be a dict")
    changed: dict[str, Any] = {}
    if texts["first_message"]:
        changed["first_message"] = texts["first_message"]
    if variables:
        changed["variables"] = {**agent.variables, **{str(key): str(plain(value)) for key, value in variables.items()}}
    if isinstance(handler := args.get("on_machine_detection"), HandlerSpec):
        changed["callbacks"] = {**agent.callbacks, "on_machine_detection": handler}
    called = msgspec.structs.replace(agent, **changed)
    webhooks = f"{origin}/webhooks/{carrier.name}"
    return CallSpec(
        call_id=ref,
        carrier=carrier.name,
        agent=called,
        caller=caller,
        callee=to,
        direction="outbound",
        account=carrier.account,
        base_url=carrier.base_url,
        options=carrier.options,
        webhooks=webhooks,
        dial=DialPlan(
            to=to,
            caller_id=caller,
            webhooks=webhooks,
            ref=ref,
            ring_timeout_s=round(ring),
            machine_detection=bool(args.get("machine_detection", False)),
            language=agent.language,
        ),
        recording=config.recording,
        recording_announcement=config.recording_announcement,
        local_recording=config.local_recording,
        voicemail_message=fill(texts["voicemail_message"] or config.voicemail_message, called.variables),
        settings=config.call,
        prices=config.prices,
        epoch=epoch,
    )


def _carrier(config: ServerConfig, name: Any) -> CarrierSpec | None:
    if not name:
        return config.carriers[0]
    return next((one for one in config.carriers if one.name == name), None)
