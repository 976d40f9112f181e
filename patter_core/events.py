"""What boards tell: one small type per thing that happened. Logs, progress lines, metrics and pages hang off these.

Events may hold full phone numbers and transcripts: whoever prints them masks (``patter_core.logline`` does).
They never hold a secret.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .carriers.carrier import CallStatus
from .reasons import EndReason

__all__ = [
    "BargedIn",
    "Bug",
    "CallEnded",
    "CallNamed",
    "CallOffered",
    "CallProgressed",
    "CallStarted",
    "CallbackDropped",
    "CallbackFailed",
    "CallbackTimedOut",
    "CarrierReported",
    "Event",
    "FramesDropped",
    "HangUpFailed",
    "KeysSent",
    "MachineAnswered",
    "MalformedMessage",
    "OrderIgnored",
    "OrderRefused",
    "OverrideIgnored",
    "ProviderReported",
    "ProviderSwitched",
    "RecordingBroken",
    "RecordingStepped",
    "Refused",
    "ServerReady",
    "ShutdownStep",
    "SignatureUnchecked",
    "SpeechFailed",
    "StartupRefused",
    "StreamAttached",
    "StreamDetached",
    "ToolRan",
    "TranscriptLine",
    "TransferStepped",
    "TunnelLost",
    "TunnelOpened",
    "TunnelUnproven",
    "TurnCompleted",
    "UpgradeUnsigned",
    "WebhookChanged",
    "WebhookFailed",
    "WebhookKept",
    "WebhookUntouched",
]


class Event(msgspec.Struct, frozen=True, tag=True):
    """Base of every event."""


class ServerReady(Event, frozen=True, tag=True):
    """The server takes calls now."""


class StartupRefused(Event, frozen=True, tag=True):
    """The server will not start. ``code`` is from a closed list (``patter_core.startup``); ``detail`` says why."""

    code: str
    detail: str


class CallOffered(Event, frozen=True, tag=True):
    """A verified webhook announced a call; its stream has not come yet."""

    call_id: str
    caller: str
    callee: str
    direction: str


class CallStarted(Event, frozen=True, tag=True):
    """The call's media stream started: the conversation begins."""

    call_id: str
    caller: str
    callee: str
    direction: str


class StreamAttached(Event, frozen=True, tag=True):
    """A media socket was admitted for the call. ``epoch`` counts its attachments from 1."""

    call_id: str
    epoch: int


class StreamDetached(Event, frozen=True, tag=True):
    """The call's media socket is gone. ``clean`` when the carrier had said ``stop``."""

    call_id: str
    epoch: int
    clean: bool


class TranscriptLine(Event, frozen=True, tag=True):
    """Somebody said something. An agent's line is what was *played*, not what was generated."""

    call_id: str
    role: str
    text: str
    turn: int
    interrupted: bool = False


class BargedIn(Event, frozen=True, tag=True):
    """The caller interrupted: ``heard_ms`` of the reply had been heard, ``dropped_ms`` never will be."""

    call_id: str
    item: str
    heard_ms: int
    dropped_ms: int


class TurnCompleted(Event, frozen=True, tag=True):
    """One exchange is over; ``turn`` is a ``TurnMetrics``."""

    call_id: str
    turn: Any


class CallEnded(Event, frozen=True, tag=True):
    """The call is over. ``frames_in``/``frames_out`` count media messages; ``marks`` those that came back played."""

    call_id: str
    reason: EndReason
    duration_ms: int
    turns: int
    frames_in: int
    frames_out: int
    marks_played: int
    marks_discarded: int
    malformed: int


class MalformedMessage(Event, frozen=True, tag=True):
    """A peer's message could not be read. Told once per call and code; the rest is counted in ``CallEnded``."""

    call_id: str
    code: str
    detail: str


class FramesDropped(Event, frozen=True, tag=True):
    """Live audio was dropped, oldest first, because the carrier does not read. Told when it begins."""

    call_id: str
    count: int


class CallbackFailed(Event, frozen=True, tag=True):
    """User code raised. The call goes on."""

    call_id: str
    callback: str
    detail: str


class CallbackTimedOut(Event, frozen=True, tag=True):
    """User code took longer than its bound; its late result will be dropped. The call goes on with the default."""

    call_id: str
    callback: str
    after_ms: int


class CallbackDropped(Event, frozen=True, tag=True):
    """A callback was skipped: too many of this call's callbacks were waiting behind a slow one."""

    call_id: str
    callback: str


class OverrideIgnored(Event, frozen=True, tag=True):
    """``on_call_start`` returned something that cannot be applied to this call."""

    call_id: str
    key: str
    detail: str


class SpeechFailed(Event, frozen=True, tag=True):
    """A part of the engine failed; ``stage`` is ``stt``, ``reply`` or ``tts``. The caller hears a fallback."""

    call_id: str
    stage: str
    detail: str


class ProviderSwitched(Event, frozen=True, tag=True):
    """``stage`` (stt, llm, tts, engine) of a call goes on with another provider, or with the same one on a new link."""

    call_id: str
    stage: str
    to: str
    detail: str


class ProviderReported(Event, frozen=True, tag=True):
    """A provider did something an operator should know of; the call goes on. ``code`` is from a closed list each."""

    call_id: str
    provider: str
    code: str
    detail: str


class ToolRan(Event, frozen=True, tag=True):
    """A tool was run for the model."""

    call_id: str
    name: str
    ok: bool
    ms: int


class HangUpFailed(Event, frozen=True, tag=True):
    """The carrier did not confirm a hang-up: the leg may still be up, and billed."""

    call_id: str
    detail: str


class CallNamed(Event, frozen=True, tag=True):
    """A call we dialled as ``ref`` has got its name from the carrier."""

    call_id: str
    ref: str


class CallProgressed(Event, frozen=True, tag=True):
    """The carrier reported how far a call has come; ``raw`` is its own word. Told once per status, in order."""

    call_id: str
    status: CallStatus
    raw: str


class MachineAnswered(Event, frozen=True, tag=True):
    """Machine detection's verdict on a dialled call: human, machine, fax or unknown. Told once."""

    call_id: str
    classification: str
    raw: str


class TransferStepped(Event, frozen=True, tag=True):
    """``step``: refused; sent (cold); consulting, briefing, joining (warm); joined; or failed. ``detail`` says why."""

    call_id: str
    step: str
    to: str
    detail: str = ""


class KeysSent(Event, frozen=True, tag=True):
    """Keys are being pressed for the application; which ones is nobody's business."""

    call_id: str
    count: int


class RecordingStepped(Event, frozen=True, tag=True):
    """The carrier started, paused, resumed or stopped recording."""

    call_id: str
    step: str


class OrderIgnored(Event, frozen=True, tag=True):
    """An order that a callback gave, and waits for no answer to, made no sense or came at the wrong time."""

    call_id: str
    verb: str
    detail: str


class RecordingBroken(Event, frozen=True, tag=True):
    """The call's own recording cannot be written (any further). The call goes on."""

    call_id: str
    detail: str


class OrderRefused(Event, frozen=True, tag=True):
    """The carrier did not carry out an order (``dial``, ``answer``, ``send``, ...); ``detail`` is its reason."""

    call_id: str
    order: str
    detail: str


class CarrierReported(Event, frozen=True, tag=True):
    """A callback of the carrier's arrived; ``report`` is its typed body (``patter_core.carriers.carrier``)."""

    call_id: str
    report: Any


class Refused(Event, frozen=True, tag=True):
    """Somebody was turned away. ``code`` is from a closed list; ``detail`` says which setting to look at."""

    what: str
    status: int
    code: str
    peer: str
    detail: str = ""


class SignatureUnchecked(Event, frozen=True, tag=True):
    """A loud reminder: signatures are switched off (``require_signature=False``), or streams are open to anyone."""

    what: str
    detail: str


class UpgradeUnsigned(Event, frozen=True, tag=True):
    """A media socket came without the carrier's own proof; its ticket was good. Told once."""

    call_id: str


class ShutdownStep(Event, frozen=True, tag=True):
    """The way down: ``step`` 0 is waiting for calls to end by themselves, then 1 to 6 in order."""

    step: int
    name: str
    detail: str = ""


class Bug(Event, frozen=True, tag=True):
    """Our own mistake, walled off. Please report it."""

    where: str
    detail: str
    call_id: str = ""


class TunnelOpened(Event, frozen=True, tag=True):
    """The public name of this server answers; carriers reach it there."""

    host: str


class TunnelUnproven(Event, frozen=True, tag=True):
    """The public name does not answer *from here*. Carriers may reach it all the same, so the server goes on."""

    host: str
    detail: str


class TunnelLost(Event, frozen=True, tag=True):
    """The tunnel is down (or did not come up); it is started again in ``again_s``. ``detail``: its own last words."""

    detail: str
    again_s: float


class WebhookKept(Event, frozen=True, tag=True):
    """The carrier's webhook URL was looked up, and it is ours already."""

    carrier: str
    number: str
    url: str


class WebhookChanged(Event, frozen=True, tag=True):
    """The carrier's webhook URL was changed: it was ``was`` and is ``now``."""

    carrier: str
    number: str
    was: str
    now: str


class WebhookUntouched(Event, frozen=True, tag=True):
    """The carrier's webhook URL was left as it is; ``why`` says what to do about that."""

    carrier: str
    number: str
    why: str


class WebhookFailed(Event, frozen=True, tag=True):
    """The carrier's webhook URL could not be looked up or changed. The server goes on: calls may come all the same."""

    carrier: str
    number: str
    detail: str
