"""The media sockets of simulated legs: opened, fed 20 ms at a time, listened to, stopped, lost.

The half of the exchange that is about sockets; what their end means for a call is decided in ``exchange.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ..carriers.carrier import Malformed
from ..contract import Connect, ConnId, Notify, Order
from ..timers import Timers
from ..wire.client import ClientConnection
from ..wire.endpoint import Phase as WirePhase
from ..wire.events import Done, HttpResponse, Opened, Text, WireEvent
from ..wire.limits import Limits
from .callee import Misbehaviour
from .config import SimulatorConfig
from .events import (
    SimEvent,
    SimProblem,
    SimSecondStream,
)
from .leg import Leg
from .media import StreamEnd
from .orders import (
    Cause,
    KeyHeard,
    Report,
    StreamDown,
    StreamFailed,
    StreamUp,
    StreamWanted,
)
from .places import Place, read_place
from .script import HangUp, Press
from .side import CarrierSide, Cleared, Marked, Played
from .wires import Wires

__all__ = ["Streams"]

_FRAME_US = 20_000
_AUDIBLE = frozenset(range(256)) - {0xFF, 0x7F, 0xFE, 0x7E}  # mu-law codes that are not (nearly) zero
_NOWHERE = Place("wss", "nowhere.invalid", 443, "nowhere.invalid", "/", "")


class Streams:
    """Orders go to ``out``."""

    def __init__(
        self, config: SimulatorConfig, side: CarrierSide, seed: bytes, out: list[Order], timers: Timers[tuple[str, int]]
    ) -> None:
        self.config = config
        self.side = side
        self.epoch = config.epoch
        self.streams: dict[ConnId, StreamEnd] = {}
        self.wires = Wires(out, timers)
        self.names = 0
        self._seed = seed[:64]
        self._out = out
        self._timers = timers
        self._frame_us = max(1, round(_FRAME_US / config.rate))
        self._upset = config.misbehaves

    # --- what the exchange does with it ------------------------------------------------------------------------------

    def tell(self, now: int, leg: Leg, report: Report) -> None:
        """Tell the server, if this carrier tells such a thing."""
        raise NotImplementedError

    def advance(self, now: int, leg: Leg) -> None:
        """The next steps of the leg's program."""
        raise NotImplementedError

    def end(self, now: int, leg: Leg, outcome: str, detail: str, cause: Cause, source: str) -> None:
        """The telephone call is over."""
        raise NotImplementedError

    def _settle(self, now: int, leg: Leg) -> None:
        """The leg may be done."""
        raise NotImplementedError

    # --- small things ------------------------------------------------------------------------------------------------

    def name(self) -> int:
        """A fresh name for a connection or a request."""
        self.names += 1
        return self.names

    def digest(self, prefix: str, number: int) -> str:
        """32 hexadecimal digits that no other (prefix, number) has."""
        return hashlib.blake2b(f"{prefix}{number}".encode(), key=self._seed, digest_size=16).hexdigest()

    def notify(self, event: SimEvent) -> None:
        """Tell whoever listens."""
        self._out.append(Notify(event))

    def _problem(self, leg: Leg, detail: str) -> None:
        self.notify(SimProblem(leg.id, detail))

    def _in(self, now: int, ms: float) -> int:
        """``ms`` of the callers' time from now."""
        return now + max(1, round(ms * 1000 / self.config.rate))

    def _set(self, now: int, kind: str, leg: Leg, ms: float) -> None:
        self._timers.set((kind, leg.number), self._in(now, ms))

    def _person(self, leg: Leg) -> str:
        return "callee" if leg.outgoing else "caller"

    def _server(self, leg: Leg) -> str:
        return "caller" if leg.outgoing else "callee"

    # --- streams -----------------------------------------------------------------------------------------------------

    def open_stream(self, now: int, leg: Leg, wanted: StreamWanted, main: bool = True) -> None:
        """Connect the leg to the server's media socket."""
        place = read_place(wanted.url, ("wss", "ws"))
        if place is None:
            self._problem(leg, f"not a URL to stream to: {wanted.url[:100]}")
            place = _NOWHERE
        elif place.scheme != "wss" and self.config.connect_to is None:
            self._problem(leg, f"stream URL {place.scheme}: carriers take wss only")
        host, port, secure = place.host, place.port, place.secure
        if self.config.connect_to is not None and place is not _NOWHERE:
            host, port = self.config.connect_to
            secure = bool(self.config.tls)
        conn = ConnId(self.name())
        leg.streams += 1
        number = leg.number if leg.streams == 1 else leg.number + 1_000_000 * leg.streams
        stream_id = self.side.stream_id(self.digest("MZ", number))
        seed = hashlib.blake2b(f"{leg.id}{leg.streams if leg.streams > 1 else ''}".encode(), key=self._seed).digest()
        headers = self.side.upgrade_headers(wanted)
        wire = ClientConnection(now, place.netloc, place.path, headers, Limits(), seed=seed)
        hears = wanted.hears or leg.line
        peer = self.side.peer(leg, stream_id, wanted, hears)
        stream = StreamEnd(leg, conn, wire, peer, stream_id, wanted, hears, self._upset, main)
        if main:
            leg.stream = stream
            leg.handset.forget()
        else:
            leg.spare.append(stream)
        self.streams[conn] = stream
        self.wires.open(conn)
        self._out.append(Connect(conn, host, port, secure))

    def received(self, now: int, conn: ConnId, data: bytes) -> None:
        """Bytes of a media socket."""
        if (stream := self.streams.get(conn)) is not None:
            self._events(now, stream, stream.wire.receive(now, data))

    def tick(self, now: int, conn: ConnId) -> None:
        """A media socket's timer fired."""
        if (stream := self.streams.get(conn)) is not None:
            self._events(now, stream, stream.wire.tick(now))

    def _events(self, now: int, stream: StreamEnd, events: Iterable[WireEvent]) -> None:
        for event in events:
            if isinstance(event, Text):
                self._server_said(now, stream, event.data)
            elif isinstance(event, Opened):
                self._opened(now, stream)
            elif isinstance(event, HttpResponse):
                detail = f"the upgrade was answered HTTP {event.status}: {event.body[:200].decode('utf-8', 'replace')}"
                stream.refused, stream.code = detail, event.status
            elif isinstance(event, Done):
                stream.code = stream.code or event.code
        if stream.conn in self.streams:
            self.wires.flush(stream.conn, stream.wire)

    def _opened(self, now: int, stream: StreamEnd) -> None:
        leg = stream.leg
        stream.opened = True
        for text in stream.peer.greeting():
            stream.say(text)
        if not stream.main:
            self.notify(SimSecondStream(leg.id, 101))
            return
        if not leg.started:
            leg.started = now
            if not leg.outgoing:
                self._set(now, "patience", leg, leg.most_ms)
        self._clock(now, leg)
        self.tell(now, leg, StreamUp(stream.wanted.url, stream.id, stream.wanted.report_url))
        if Misbehaviour.TWO_STREAMS in self._upset and leg.streams == 1:
            self.open_stream(now, leg, stream.wanted, main=False)

    def _clock(self, now: int, leg: Leg) -> None:
        """The person on the line does things from now on."""
        if not leg.clock:
            leg.clock = True
            leg.next_frame = now + self._frame_us
            self._timers.set(("frame", leg.number), leg.next_frame)

    def frames(self, now: int, leg: Leg) -> None:
        """Play and send every frame that is due: deadlines are absolute, lateness never adds up."""
        stream = leg.stream
        if stream is not None and not stream.streaming:
            stream = None
        while leg.clock and leg.next_frame <= now:
            leg.next_frame += self._frame_us
            if stream is None:
                acts = leg.player.frame(now < leg.voice_until)[1]
            else:
                heard, marks = leg.handset.play()
                if marks:
                    self._return(stream, marks)
                payload, acts = leg.player.frame(not _AUDIBLE.isdisjoint(heard))
                if self.config.probe:
                    payload = self._probe(now, leg)
                leg.frames += 1
                if self.config.record:
                    leg.sent += payload
                stream.frame(payload)
                for spare in leg.spare:
                    if spare.streaming:
                        spare.frame(payload)
            for act in acts:
                if isinstance(act, Press):
                    if stream is not None:
                        stream.say(stream.peer.dtmf(act.digit))
                    self.tell(now, leg, KeyHeard(act.digit))
                elif isinstance(act, HangUp):
                    self.end(now, leg, "completed", "hung up", Cause.NORMAL, self._person(leg))
                    if stream is not None and not stream.streaming:
                        stream = None
        if not self.config.record:
            leg.handset.heard.clear()
        if leg.clock:
            self._timers.set(("frame", leg.number), leg.next_frame)
        if stream is not None and stream.conn in self.streams:
            self.wires.flush(stream.conn, stream.wire)
        for spare in leg.spare:
            self.wires.flush(spare.conn, spare.wire)

    def _probe(self, now: int, leg: Leg) -> bytes:
        """A frame no other frame of this call equals, so that its echo can be told."""
        head = leg.frames.to_bytes(4, "big")
        leg.probes[head] = now
        return head + bytes(156)

    def _return(self, stream: StreamEnd, marks: Iterable[str]) -> None:
        if Misbehaviour.LOST_MARKS not in self._upset:
            for name in marks:
                stream.say(stream.peer.mark(name))

    def _server_said(self, now: int, stream: StreamEnd, text: str) -> None:
        leg = stream.leg
        if not stream.streaming or stream is not leg.stream:
            return
        match stream.peer.receive(text):
            case Played(payload):
                if self.config.probe:
                    for start in range(0, len(payload), 160):  # a server that fell behind sends two frames in one
                        sent = leg.probes.pop(payload[start : start + 4], None)
                        if sent is not None:
                            leg.latencies.append(now - sent)
                leg.handset.media(stream.played(payload))
            case Marked(name):
                self._return(stream, leg.handset.mark(name))
            case Cleared():
                stream.cleared()
                self._return(stream, leg.handset.clear())
            case Malformed(code, detail):
                self._problem(leg, f"{code.value}: {detail}")

    def _stop_streams(self, now: int, leg: Leg) -> None:
        """Say `stop` on what is open, and close it."""
        leg.clock = leg.clock and leg.stream is None and leg.live
        stream, leg.stream = leg.stream, None
        if stream is not None:
            leg.spare.append(stream)
        for one in leg.spare[:]:
            if one.streaming:
                one.stopping = True
                one.say(one.peer.stop())
                if one.wire.phase is WirePhase.WEBSOCKET:
                    one.wire.close(now, self.side.close_code, "")
                self.wires.flush(one.conn, one.wire)
                if one.main:
                    self.tell(now, leg, StreamDown(one.wanted.url, one.id, one.wanted.report_url))
            elif not one.opened:
                leg.spare.remove(one)
                del self.streams[one.conn]
                self.wires.abort(one.conn)

    def _give_up(self, now: int, conn: ConnId) -> None:
        """Nobody closed a socket that we left open."""
        if (stream := self.streams.pop(conn, None)) is not None:
            self.wires.abort(conn)
            self._lost(now, stream)

    def failed(self, now: int, conn: ConnId, fault: str) -> None:
        """A media socket could not be opened."""
        stream = self.streams.pop(conn, None)
        self.wires.gone(conn)
        if stream is not None:
            stream.refused = f"media stream: {fault}"
            self._lost(now, stream, "unreachable")

    def closed(self, now: int, conn: ConnId) -> None:
        """A media socket is over."""
        stream = self.streams.get(conn)
        self.wires.gone(conn)
        self._timers.clear(("giveup", int(conn)))
        if stream is None:
            return
        for event in stream.wire.receive(now, b""):
            if isinstance(event, Done):
                stream.code = stream.code or event.code
            elif isinstance(event, HttpResponse):
                self._events(now, stream, (event,))
        self.streams.pop(conn, None)
        self._lost(now, stream)

    def _lost(self, now: int, stream: StreamEnd, outcome: str = "rejected") -> None:
        leg = stream.leg
        if not stream.main:
            leg.spare.remove(stream)
            if not stream.opened:
                self.notify(SimSecondStream(leg.id, stream.code))
            self._settle(now, leg)
            return
        leg.close_code = stream.code or leg.close_code
        if stream is leg.stream:
            leg.stream = None
            leg.clock = leg.clock and leg.outgoing and not stream.opened
            if not stream.opened:
                if not leg.started:
                    leg.outcome, leg.detail = outcome, stream.refused
                self.tell(
                    now, leg, StreamFailed(stream.wanted.url, stream.id, stream.refused, stream.wanted.report_url)
                )
            else:
                self.tell(now, leg, StreamDown(stream.wanted.url, stream.id, stream.wanted.report_url))
            if leg.live and self.side.ends_when_idle:
                self.advance(now, leg)
        elif stream in leg.spare:
            leg.spare.remove(stream)
        self._settle(now, leg)
