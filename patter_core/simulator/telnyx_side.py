"""Telnyx, played: JSON events to one URL, signed with Ed25519; every order a REST command.

A webhook's answer says only that it arrived; a call lives until somebody hangs it up. Source for what is told when:
developers.telnyx.com (receiving webhooks: 2 s, three attempts; Call Control commands), and recorded calls: initiated,
answered, streaming.started, ..., ``stop`` on the socket, streaming.stopped, hangup.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from ..audio.formats import PCMU_8K, AudioFormat, Encoding
from ..carriers.telnyx import rest_peer, signature, stream_peer, webhook_peer
from ..carriers.telnyx.dialect import STREAM_TOKEN
from .config import SimulatorConfig
from .leg import Leg
from .orders import (
    AnswerCall,
    Answered,
    Bridge,
    Bridged,
    Cause,
    Dial,
    FindHook,
    GreetingEnded,
    HangUpCall,
    HungUp,
    Initiated,
    KeyHeard,
    Machine,
    Offered,
    PressKeys,
    Record,
    Recorded,
    RejectCall,
    Report,
    Reports,
    SetHook,
    SimOrder,
    Speak,
    Spoke,
    StartStream,
    Step,
    StreamDown,
    StreamFailed,
    StreamUp,
    StreamWanted,
    Transfer,
    Verdict,
)
from .side import Cleared, Marked, Played, Post, Reply, ServerSaid, StreamPeer, Why

__all__ = ["TelnyxSide"]

#: hang-up cause and SIP code; normal_clearing/200 and originator_cancel/487 are recorded
_ENDS = {
    Cause.NORMAL: ("normal_clearing", "200"),
    Cause.BUSY: ("user_busy", "486"),
    Cause.REJECTED: ("call_rejected", "603"),
    Cause.NO_ANSWER: ("timeout", "487"),
    Cause.FAILED: ("not_found", "404"),
    Cause.CANCELLED: ("originator_cancel", "487"),
}
_PREMIUM = {"human": "human_residence", "machine": "machine", "fax": "fax_detected"}
_CODECS = {Encoding.PCMU: "PCMU", Encoding.PCMA: "PCMA", Encoding.L16: "L16"}


class _Peer:
    """``TelnyxStreamPeer`` in the simulator's words."""

    def __init__(self, peer: stream_peer.TelnyxStreamPeer) -> None:
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


class TelnyxSide:
    """See ``side.CarrierSide``."""

    ends_when_idle = False
    ring_slack_ms = 0
    close_code = 1000  # the recorded 1005 is a close frame without a status, which ours always have

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config

    def call_id(self, digest: str) -> str:
        return "v3:" + digest + "-_" + digest[:20]

    def stream_id(self, digest: str) -> str:
        return _uuid(digest)

    def recording_id(self, digest: str) -> str:
        return _uuid(digest)

    # --- webhooks ----------------------------------------------------------------------------------------------------

    def tell(self, leg: Leg, report: Report, at_us: int) -> Post | None:
        leg.told += 1
        about = self._about(leg)
        event_id = _uuid(_digest(f"{leg.id} {leg.told}"))
        event = self._event(leg, about, report, event_id, at_us)
        if event is None:
            return None
        url = leg.reports.url or self._config.webhook_url
        vital = isinstance(report, Offered)
        return Post(url, event, event_id, vital=vital, attempts=3, patience_ms=2_000)

    def _event(
        self, leg: Leg, about: webhook_peer.TelnyxLeg, report: Report, id: str, at_us: int
    ) -> webhook_peer.Event | None:
        wire = webhook_peer
        match report:
            case Offered() | Initiated():
                return wire.initiated(about, id, at_us)
            case Answered():
                codec = _CODECS[leg.line.encoding]
                return wire.answered(about, id, at_us, codec=codec, rate=leg.line.rate)
            case HungUp(cause, source):
                word, sip = _ENDS[cause]
                packets = leg.frames if leg.answered_at >= 0 else None
                return wire.hangup(about, id, at_us, cause=word, source=source, sip=sip, packets=packets)
            case Verdict(who):
                premium = leg.reports.detect == "premium"
                result = (
                    _PREMIUM.get(who, "not_sure") if premium else who if who in ("human", "machine") else "not_sure"
                )
                return wire.machine_detected(about, id, at_us, result, premium=premium)
            case GreetingEnded(beep):
                premium = leg.reports.detect == "premium"
                result = "beep_detected" if beep else "no_beep_detected" if premium else "ended"
                return wire.machine_greeting(about, id, at_us, result, premium=premium)
            case StreamUp(url):
                return wire.streaming_changed(about, id, at_us, "started", url)
            case StreamDown(url):
                return wire.streaming_changed(about, id, at_us, "stopped", url)
            case StreamFailed(url, stream_id):
                return wire.streaming_failed(about, id, at_us, stream_url=url, stream_id=stream_id)
            case Spoke(number, ended, completed):
                speak_id = _digest(f"{leg.id} speaks {number}")[:10]
                if not ended:
                    return wire.speak_started(about, id, at_us, speak_id)
                return wire.speak_ended(about, id, at_us, speak_id, "completed" if completed else "call_hangup")
            case KeyHeard(digit):
                return wire.dtmf_received(about, id, at_us, digit)
            case Bridged():
                return wire.bridged(about, id, at_us)
            case Recorded(recording_id, began_us, duration, ready=True):
                return wire.recording_saved(
                    about,
                    id,
                    at_us,
                    recording_id=recording_id,
                    url=f"{self._config.base_url}/recordings/{recording_id}.wav",
                    start_us=began_us,
                    end_us=began_us + duration * 1_000_000,
                )
        return None

    def _about(self, leg: Leg) -> webhook_peer.TelnyxLeg:
        return webhook_peer.TelnyxLeg(
            leg.id,
            _uuid(_digest(leg.id)),
            _uuid(leg.session),
            self._config.connection_id,
            leg.caller,
            leg.callee,
            leg.began_us,
            direction="outgoing" if leg.outgoing else "incoming",
            state=leg.reports.state or None,
        )

    def seal(self, post: Post, attempt: int, at_us: int) -> tuple[tuple[tuple[str, str], ...], bytes]:
        body = webhook_peer.deliver(post.content, post.url, attempt)
        timestamp = str(at_us // 1_000_000)
        headers = (
            ("Content-Type", "application/json"),
            (signature.SIGNATURE, signature.sign(self._config.signing_seed, timestamp, body)),
            (signature.TIMESTAMP, timestamp),
            ("User-Agent", "telnyx-webhooks"),
        )
        return headers, body

    def program(self, status: int, body: bytes) -> Sequence[Step] | str:
        return ()

    # --- streams -----------------------------------------------------------------------------------------------------

    def upgrade_headers(self, wanted: StreamWanted) -> list[tuple[str, str]]:
        # Which other headers Telnyx sends is not known; the token is Telnyx's only proof.
        fit = wanted.token.isascii() and wanted.token.isprintable()
        return [(STREAM_TOKEN, wanted.token)] if wanted.token and fit and self._config.sign_upgrade else []

    def peer(self, leg: Leg, stream_id: str, wanted: StreamWanted, hears: AudioFormat) -> StreamPeer:
        return _Peer(
            stream_peer.TelnyxStreamPeer(
                stream_id,
                leg.id,
                _uuid(_digest("user")),
                dict(wanted.parameters),
                hears,
                wanted.plays,
                session_id=_uuid(leg.session),
                caller=leg.caller,
                callee=leg.callee,
                client_state=leg.reports.state or None,
            )
        )

    # --- the REST API ------------------------------------------------------------------------------------------------

    def read(self, method: str, target: str, body: bytes) -> SimOrder | None:
        wanted = rest_peer.read_request(method, target.partition("?")[0], body)
        return None if wanted is None else _order(wanted)

    def has(self, key: str) -> bool:
        return key == self._config.connection_id

    def done(self, order: SimOrder, leg: Leg | None, made: str, hook: str) -> Reply:
        if isinstance(order, Dial):
            session = "" if leg is None else leg.session
            return _reply(rest_peer.reply_dialled(made, _uuid(_digest(made)), _uuid(session or _digest(made))))
        if isinstance(order, FindHook | SetHook):
            active = not self._config.hook_ruled_by
            return _reply(rest_peer.reply_application(order.key, self._config.application_name, hook, active=active))
        return _reply(rest_peer.reply_ok())

    def refused(self, order: SimOrder | None, why: Why) -> Reply:
        match why:
            case Why.ENDED:
                return _reply(rest_peer.reply_ended())
            case Why.NOT_ANSWERED:
                return _reply(rest_peer.reply_not_answered())
            case Why.NO_SUCH_CALL:
                return _reply(rest_peer.reply_bad_call())
            case Why.BUSY_STREAM:
                return _problem(422, "90046", "Media streaming is already running")  # code documented, words ours
            case _:
                return _reply(rest_peer.reply_not_found())

    def trouble(self, order: SimOrder | None, status: int, code: str) -> Reply:
        if status == 429:
            limits = (("x-ratelimit-limit", "10"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1"))
            reply = _reply(rest_peer.reply_too_many())
            return Reply(429, reply.body, (*reply.headers, *limits))
        if status == 401:
            return _reply(rest_peer.reply_unauthorized())
        return _problem(status, code or ("10007" if status >= 500 else "10015"), "The request failed, as planned")


def _order(wanted: rest_peer.Order) -> SimOrder | None:
    match wanted:
        case rest_peer.AnswerWanted(call_id, wish, command, state):
            return AnswerCall(call_id, command, state, stream=None if wish is None else _stream(wish))
        case rest_peer.RejectWanted(call_id, cause, command):
            return RejectCall(call_id, command, busy=cause == "USER_BUSY")
        case rest_peer.StreamWanted(call_id, wish, command):
            return StartStream(call_id, command, stream=_stream(wish))
        case rest_peer.DialWanted():
            machine = {"": Machine.OFF, "detect": Machine.AT_ONCE}.get(wanted.detect, Machine.BOTH)
            return Dial(
                to=wanted.to,
                caller=wanted.caller,
                timeout_s=wanted.ring_timeout_s,
                machine=machine,
                reports=Reports(url=wanted.webhook_url, state=wanted.state or "", detect=wanted.detect),
                stream=None if wanted.stream is None else _stream(wanted.stream),
                command=wanted.command,
            )
        case rest_peer.HangUpWanted(call_id, command):
            return HangUpCall(call_id, command)
        case rest_peer.SpeakWanted():
            return Speak(wanted.call_id, wanted.command, text=wanted.text, language=wanted.language)
        case rest_peer.KeysWanted():
            return PressKeys(wanted.call_id, wanted.command, digits=wanted.digits, duration_ms=wanted.duration_ms)
        case rest_peer.TransferWanted():
            return Transfer(
                wanted.call_id,
                wanted.command,
                to=wanted.to,
                caller=wanted.caller,
                timeout_s=wanted.ring_timeout_s,
                reports=Reports(url=wanted.webhook_url, state=wanted.state or ""),
            )
        case rest_peer.BridgeWanted(call_id, other, command):
            return Bridge(call_id, command, other=other)
        case rest_peer.RecordWanted():
            return Record(wanted.call_id, wanted.command, step=wanted.step)
        case rest_peer.HookAsked(application):
            return FindHook(application)
        case rest_peer.HookWanted(application, _, url):
            return SetHook(application, url)


def _stream(wish: rest_peer.StreamWish) -> StreamWanted:
    """A wish for MP3, or for a codec not simulated, is still a stream: its audio will be reported as malformed."""
    return StreamWanted(wish.url, dict(wish.parameters), wish.token, wish.hears, wish.plays or PCMU_8K)


def _reply(made: tuple[int, bytes]) -> Reply:
    return Reply(*made)


def _problem(status: int, code: str, title: str) -> Reply:
    return Reply(status, msgspec.json.encode({"errors": [{"code": code, "title": title, "detail": title}]}))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _uuid(digest: str) -> str:
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
