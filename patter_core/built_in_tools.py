"""What every model may do with its own call. The call itself carries these out, or refuses."""

from __future__ import annotations

from .engines.policy import ToolSpec

__all__ = ["BUILT_INS"]

BUILT_INS: tuple[ToolSpec, ...] = (
    ToolSpec(
        name="transfer_call",
        built_in="transfer_call",
        description=(
            "Transfer the caller to another telephone number. Say so to the caller first. If nobody answers there, the "
            "caller comes back to you."
        ),
        parameters={
            "type": "object",
            "properties": {
                "number": {
                    "type": "string",
                    "description": "Where to: a number in E.164 form, such as +15550001234, or a sip: address",
                },
                "summary": {
                    "type": "string",
                    "description": "What the call is about; whoever answers hears it before the caller is there",
                },
            },
            "required": ["number"],
            "additionalProperties": False,
        },
    ),
    ToolSpec(
        name="end_call",
        built_in="end_call",
        description="End the call. Only when the conversation is over and goodbye has been said.",
        parameters={
            "type": "object",
            "properties": {"reason": {"type": "string", "description": "Why the call ends, in a few words"}},
            "required": ["reason"],
            "additionalProperties": False,
        },
    ),
    ToolSpec(
        name="send_dtmf",
        built_in="send_dtmf",
        description="Press keys on the telephone, to get through the menu of a machine that answered.",
        parameters={
            "type": "object",
            "properties": {
                "digits": {
                    "type": "string",
                    "description": "Of 0-9 * # A-D; w waits half a second, W a whole one",
                    "minLength": 1,
                    "maxLength": 64,
                }
            },
            "required": ["digits"],
            "additionalProperties": False,
        },
    ),
)
