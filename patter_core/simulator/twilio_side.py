"""Twilio, played: TwiML answers, form webhooks, one callback URL for every purpose.

Incoming calls: the voice webhook's answer is the program. Dialled calls: status callbacks, then the answer URL. Source
for what is told when: twilio.com/docs/voice/api/call-resource, /docs/voice/answering-machine-detection,
/docs/voice/twiml/dial and /conference; a leg with nothing left to do is hung up (/docs/voice/twiml).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from ..audio.formats import AudioFormat
from ..carriers.carrier import CallStatus, RecordingStep
from ..carriers.form import encode_form
from ..carriers.twilio import rest_peer, signature, stream_peer, twiml, webhook_peer
from .config import SimulatorConfig
from .leg import Leg
from .orders import (
    Answered,
    Cause,
    Dial,
    DialOut,
    DialOver,
    End,
    EnterRoom,
    Fetch,
    FindHook,
    GreetingEnded,
    HangUpCall,
    HungUp,
    Initiated,
    Machine,
    Odd,
    Offered,
    OpenStream,
    Pause,
    Record,
    Recorded,
    Refuse,
    Report,
    Reports,
    Ringing,
    RoomChanged,
    Run,
    SayText,
    SetHook,
    SimOrder,
    Step,
    StreamDown,
    StreamFailed,
    StreamUp,
    StreamWanted,
    Verdict,
)
from .places import absolute
from .side import Cleared, Marked, Played, Post, Reply, ServerSaid, StreamPeer, Why

__all__ = ["TwilioSide"]

_MAX_DEPTH = 64  # steps of one program

#: how a leg's end is called in status callbacks and ``DialCallStatus``, and its SIP code. The busy one is recorded.
_ENDS = {
    Cause.NORMAL: (CallStatus.COMPLETED, None),
    Cause.BUSY: (CallStatus.BUSY, 486),
    Cause.REJECTED: (CallStatus.BUSY, 603),
    Cause.NO_ANSWER: (CallStatus.NO_ANSWER, 487),
    Cause.FAILED: (CallStatus.FAILED, 404),
    Cause.CANCELLED: (CallStatus.CANCELED, 487),
}
_ROOM = {
    "start": "conference-start",
    "end": "conference-end",
    "join": "participant-join",
    "leave": "participant-leave",
}


class _Peer:
    """``TwilioStreamPeer`` in the simulator's words."""

    def __init__(self, peer: stream_peer.TwilioStreamPeer) -> None:
        self._peer = peer
        self.media: Callable[[bytes, int], str] = peer.media
        self.dtmf: Callable[[str], str] = peer.dtmf
        self.mark = peer.mark
        self.stop = peer.stop

    def greeting(self) -> list[str]:
        return [self._peer.connected(), self._peer.start()]

    def receive(self, text: str) -> ServerSaid:
        match self._peer.receive(text):
            case stream_peer.Played(payload):
                return Played(payload)
            case stream_peer.Marked(name):
                return Marked(name)
            case stream_peer.Cleared():
                return Cleared()
            case malformed:
                return malformed


class TwilioSide:
    """See ``side.CarrierSide``."""

    ends_when_idle = True
    ring_slack_ms = 5_000  # documented: "Twilio adds about 5 seconds"
    close_code = 1000

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config

    def call_id(self, digest: str) -> str:
        return "CA" + digest

    def stream_id(self, digest: str) -> str:
        return "MZ" + digest

    def recording_id(self, digest: str) -> str:
        return "RE" + digest

    # --- webhooks ----------------------------------------------------------------------------------------------------

    def tell(self, leg: Leg, report: Report, at_us: int) -> Post | None:
        account, where = self._config.account_sid, leg.reports
        match report:
            case Offered():
                pairs = webhook_peer.voice_params(leg.id, account, leg.caller, leg.callee)
                return self._post(leg, self._config.webhook_url, pairs, program=True, vital=True)
            case Fetch(url):
                direction = "outbound" if leg.outgoing else "inbound"
                pairs = webhook_peer.voice_params(
                    leg.id, account, leg.caller, leg.callee, direction, status="in-progress"
                )
                return self._post(leg, url, pairs, program=True, vital=True)
            case Initiated():
                return self._status(leg, "initiated", CallStatus.INITIATED, at_us)
            case Ringing():
                return self._status(leg, "ringing", CallStatus.RINGING, at_us)
            case Answered():
                return self._status(leg, "answered", CallStatus.IN_PROGRESS, at_us)
            case HungUp(cause, _, duration):
                status, sip = _ENDS[cause]
                return self._status(leg, "completed", status, at_us, duration, sip)
            case Verdict(who, after_ms) if where.machine_url:
                word = "machine_start" if who == "machine" else who
                return self._post(leg, where.machine_url, webhook_peer.machine_params(leg.id, account, word, after_ms))
            case GreetingEnded(beep, after_ms, told) if where.machine_url and not told:
                word = "machine_end_beep" if beep else "machine_end_silence"
                return self._post(leg, where.machine_url, webhook_peer.machine_params(leg.id, account, word, after_ms))
            case Recorded(recording_id, began_us, duration, url, ready) if url:
                pairs = webhook_peer.recording_params(
                    leg.id,
                    account,
                    recording_id,
                    "completed" if ready else "in-progress",
                    duration,
                    began_us // 1_000_000,
                    self._config.base_url,
                    channels=2,
                    source="StartCallRecordingAPI",
                )
                return self._post(leg, url, pairs)
            case DialOver(action, cause, other, duration, room):
                word = "answered" if room else _ENDS[cause][0].value.replace("_", "-")
                pairs = webhook_peer.transfer_params(
                    leg.id,
                    account,
                    leg.caller,
                    leg.callee,
                    word,
                    dial_sid=other,
                    duration_s=duration if cause is Cause.NORMAL else None,
                    bridged=None if room else cause is Cause.NORMAL,
                    direction="outbound" if leg.outgoing else "inbound",
                )
                return self._post(leg, action, pairs, program=True, vital=True)
            case RoomChanged(what, room, room_id, sequence, url, starts, ends) if url:
                pairs = webhook_peer.conference_params(
                    leg.id,
                    account,
                    room_id,
                    room,
                    _ROOM[what],
                    sequence,
                    at_us // 1_000_000,
                    starts=starts,
                    ends=ends,
                )
                return self._post(leg, url, pairs)
            case StreamUp(_, stream_id, url) if url:
                return self._stream(leg, stream_id, url, "stream-started", at_us)
            case StreamDown(_, stream_id, url) if url:
                return self._stream(leg, stream_id, url, "stream-stopped", at_us)
            case StreamFailed(_, stream_id, why, url) if url:
                return self._stream(leg, stream_id, url, "stream-error", at_us, why)
        return None

    def _stream(self, leg: Leg, stream_id: str, url: str, event: str, at_us: int, error: str = "") -> Post:
        pairs = webhook_peer.stream_params(leg.id, self._config.account_sid, stream_id, event, at_us, error)
        return self._post(leg, url, pairs)

    def _status(
        self,
        leg: Leg,
        event: str,
        status: CallStatus,
        at_us: int,
        duration_s: int | None = None,
        sip: int | None = None,
    ) -> Post | None:
        sequence = leg.sequence
        leg.sequence += 1  # counts what happens, told or not
        if not leg.reports.status_url or event not in leg.reports.status_events:
            return None
        pairs = webhook_peer.status_params(
            leg.id,
            self._config.account_sid,
            leg.caller,
            leg.callee,
            status,
            sequence,
            at_us // 1_000_000,
            "outbound" if leg.outgoing else "inbound",
            duration_s=duration_s,
            sip_code=sip,
        )
        return self._post(leg, leg.reports.status_url, pairs)

    def _post(
        self, leg: Leg, url: str, pairs: webhook_peer.Pairs, *, program: bool = False, vital: bool = False
    ) -> Post:
        leg.told += 1
        token = hashlib.blake2b(f"{leg.id} {leg.told}".encode(), digest_size=16).hexdigest()
        where = absolute(self._config.webhook_url, url.partition("#")[0])
        return Post(where, pairs, token, program, vital)

    def seal(self, post: Post, attempt: int, at_us: int) -> tuple[tuple[tuple[str, str], ...], bytes]:
        proof = signature.sign(self._config.auth_token, post.url, post.content)
        headers = (
            ("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"),
            ("X-Twilio-Signature", proof),
            ("I-Twilio-Idempotency-Token", post.token),
            ("User-Agent", "TwilioProxy/1.1"),
        )
        return headers, encode_form(post.content)

    # --- programs ----------------------------------------------------------------------------------------------------

    def program(self, status: int, body: bytes) -> Sequence[Step] | str:
        if status != 200:
            return f"webhook answered HTTP {status}: {body[:200].decode('utf-8', 'replace')}"
        try:
            return _steps(body.decode("utf-8"))
        except ValueError as exc:
            return f"TwiML: {exc}"

    # --- streams -----------------------------------------------------------------------------------------------------

    def upgrade_headers(self, wanted: StreamWanted) -> list[tuple[str, str]]:
        headers = [("User-Agent", "Twilio.TmeWs/1.0")]
        if self._config.sign_upgrade:
            headers.append(("x-twilio-signature", signature.sign(self._config.auth_token, wanted.url)))
        return headers

    def peer(self, leg: Leg, stream_id: str, wanted: StreamWanted, hears: AudioFormat) -> StreamPeer:
        return _Peer(stream_peer.TwilioStreamPeer(stream_id, leg.id, self._config.account_sid, dict(wanted.parameters)))

    # --- the REST API ------------------------------------------------------------------------------------------------

    def read(self, method: str, target: str, body: bytes) -> SimOrder | None:
        try:
            return _order(rest_peer.read_request(method, target, body))
        except ValueError:  # TwiML that is none
            return None

    def has(self, key: str) -> bool:
        return key[:2] != "PN" or any(key == self._number_sid(number) for number in self._config.numbers)

    def done(self, order: SimOrder, leg: Leg | None, made: str, hook: str) -> Reply:
        account = self._config.account_sid
        match order:
            case Dial():
                return Reply(201, rest_peer.reply_call(made, account, "queued", order.caller, order.to))
            case HangUpCall():
                return Reply(200, rest_peer.reply_completed(order.call_id, account))
            case Record(step=step):
                word = {RecordingStep.PAUSE: "paused", RecordingStep.STOP: "stopped"}.get(step, "in-progress")
                body = rest_peer.reply_recording(made, order.call_id, account, word)
                return Reply(201 if step is RecordingStep.START else 200, body)
            case FindHook(key):
                found = [self._number(number, hook) for number in self._config.numbers if key in number]
                return Reply(200, rest_peer.reply_numbers(found))
            case SetHook(key):
                number = next((n for n in self._config.numbers if self._number_sid(n) == key), "")
                return Reply(200, self._number(number, hook))
        return Reply(200, rest_peer.reply_call(order.call_id, account, "in-progress"))

    def _number(self, number: str, hook: str) -> bytes:
        ruled = self._config.hook_ruled_by
        return rest_peer.reply_number(
            self._number_sid(number),
            number,
            hook,
            application_sid=ruled if ruled.startswith("AP") else "",
            trunk_sid=ruled if ruled.startswith("TK") else "",
        )

    def _number_sid(self, number: str) -> str:
        return "PN" + hashlib.blake2b(number.encode(), digest_size=16).hexdigest()

    def refused(self, order: SimOrder | None, why: Why) -> Reply:
        if why is Why.NOT_ANSWERED or why is Why.BUSY_STREAM:
            return Reply(400, rest_peer.reply_not_in_progress())
        call_id = "" if order is None else order.call_id
        return Reply(404, rest_peer.reply_not_found(call_id, self._config.account_sid))

    def trouble(self, order: SimOrder | None, status: int, code: str) -> Reply:
        if status == 429:
            return Reply(429, rest_peer.reply_too_many())
        if status == 401:
            return Reply(401, rest_peer.reply_unauthorized())
        number = int(code) if code.isdigit() else 20500 if status >= 500 else 20001
        message = "Internal Server Error" if status >= 500 else "The request was refused, as planned"
        if order is not None and isinstance(order, Dial) and status < 500:
            message = f"The phone number you are attempting to call, {order.to}, is not valid."
        return Reply(status, rest_peer.reply_problem(status, number, message))


def _order(wanted: rest_peer.Order | None) -> SimOrder | None:
    match wanted:
        case rest_peer.DialWanted():
            machine = {"Enable": Machine.AT_ONCE, "DetectMessageEnd": Machine.AT_THE_END}.get(
                wanted.machine_detection, Machine.OFF
            )
            return Dial(
                to=wanted.to,
                caller=wanted.caller_id,
                timeout_s=wanted.timeout_s,
                machine=machine,
                reports=Reports(
                    answer_url=wanted.url,
                    status_url=wanted.status_callback,
                    status_events=wanted.events,
                    machine_url=wanted.amd_callback,
                ),
                program=tuple(_steps(wanted.twiml)) if wanted.twiml else (),
            )
        case rest_peer.HangUpWanted(call_id):
            return HangUpCall(call_id)
        case rest_peer.UpdateTwiml(call_id, text):
            return Run(call_id, program=tuple(_steps(text)))
        case rest_peer.RecordingWanted():
            return Record(
                wanted.call_sid,
                step=wanted.step,
                recording_id=wanted.recording_sid,
                reports=Reports(recording_url=wanted.status_callback, recording_events=wanted.events),
            )
        case rest_peer.NumbersWanted(number):
            return FindHook(number)
        case rest_peer.NumberUpdateWanted(sid, url):
            return SetHook(sid, url)
    return None


def _steps(text: str) -> list[Step]:
    return [_step(verb) for verb in twiml.read_twiml(text)[:_MAX_DEPTH]]


def _step(verb: twiml.Verb) -> Step:
    match verb:
        case twiml.Connect(url, parameters, _, status_callback):
            return OpenStream(StreamWanted(url, dict(parameters), report_url=status_callback))
        case twiml.Reject(reason):
            return Refuse(reason == "busy")
        case twiml.Say(text, language):
            return SayText(text, language)
        case twiml.Hangup():
            return End()
        case twiml.Pause(length_s):
            return Pause(length_s * 1000)
        case twiml.Redirect(url):
            return Fetch(url)
        case twiml.Dial(to=twiml.Conference() as room):
            reports = Reports(room_url=room.status_callback, room_events=room.events)
            return EnterRoom(room.room, room.starts, room.ends, verb.action, reports)
        case twiml.Dial(to=to):
            number = to.uri if isinstance(to, twiml.Sip) else to.number if isinstance(to, twiml.Number) else ""
            timeout = 30 if verb.timeout_s is None else verb.timeout_s
            reports = Reports()
            if isinstance(to, twiml.Number | twiml.Sip):
                reports = Reports(status_url=to.status_callback, status_events=to.events or ("completed",))
            return DialOut(number, verb.caller_id, verb.action, timeout, reports)
        case twiml.Unknown(name):
            return Odd(name)
