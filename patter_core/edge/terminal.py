"""``phone.test``: a call in text. What is typed is what the recogniser understood; what the agent says is written.

The call is a whole one: its brain, tools, hooks, guardrails and callbacks run as on the telephone. Only its ends are
others: a carrier that is not there plays a tone for each line typed, and the ear it reaches gives that line back.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from patter_core.agent import Agent
from patter_core.audio.g711 import ulaw_encode
from patter_core.audio.tones import tone
from patter_core.call.pricing import merge
from patter_core.call.spec import CallSpec
from patter_core.call_board import CallBoard
from patter_core.carriers.twilio.stream_peer import Cleared, Marked, Played, TwilioStreamPeer
from patter_core.contract import (
    Abort,
    Answer,
    Asked,
    AskId,
    BodyEnded,
    Close,
    Connected,
    ConnId,
    Fact,
    InputEnded,
    Notify,
    Order,
    Pause,
    Received,
    Request,
    ResponseStarted,
    Resume,
    Send,
    StopRequested,
    Ticked,
)
from patter_core.errors import ConfigError
from patter_core.events import CallEnded, ToolRan, TranscriptLine, TransferStepped
from patter_core.reasons import EndReason

__all__ = ["HELP", "Terminal", "TextCall", "in_text"]

HELP = "Type what the caller says. /transfer NUMBER, /hangup, /history, /quit"
CALLER, CALL_ID = "+15550100001", "CA" + "0" * 32

_CARRIER = "https://carrier.invalid"  # nothing is ever sent there
_FRAME_US = 20_000
_VOICE = ulaw_encode(tone(440, 400, 8000))  # of a line that is typed: long enough to be a voice, and an interruption
_FRAMES = len(_VOICE) // 160
_PAUSE = 30  # frames between two lines: the end of a turn
_ENDPOINT_S = 0.3
_QUIET = b"\xff" * 160
_SAID = bytes(640)  # 20 ms: a sentence is written at once


def in_text(agent: Agent, on_message: Any, ear: Callable[..., str]) -> Agent:
    """The agent with a keyboard for its ears. ConfigError where there is no text to write."""
    staged = agent.stt is not None or agent.llm is not None or agent.tts is not None
    if agent.engine is not None or not (staged or on_message is not None):
        raise ConfigError(
            "test() is a conversation in text, and this agent's engine hears and speaks by itself. It takes an agent "
            "with llm= (or an on_message); to try this one, call it: patter simulate --help"
        )

    def voice(text: str) -> bytes:
        return _SAID

    return msgspec.structs.replace(agent, stt=ear, tts=voice, vad=None)


_PATIENCE_S = 10.0  # a script waits for an answer so long; there may be none to its first line, or to any


class _Board(CallBoard):
    """A call that may be told how it ended."""

    def finish(self, now: int, reason: EndReason) -> None:
        """It ended for this reason; the orders for it come with the next fact."""
        self._host.end(now, CALL_ID, reason)


class TextCall:
    """The board: a call, and the carrier it believes it has."""

    def __init__(self, spec: CallSpec, seed: bytes) -> None:
        account = "AC" + "0" * 32
        quick = msgspec.structs.replace(spec.settings, endpoint_s=_ENDPOINT_S)
        free = merge(spec.price_table, {"twilio": {"price": 0}})
        spec = msgspec.structs.replace(
            spec, carrier="twilio", account=account, base_url=_CARRIER, options={}, settings=quick, prices=free
        )
        self._call = _Board(spec, seed=seed)
        self._peer = TwilioStreamPeer("MZ" + "0" * 32, CALL_ID, account)
        self._said: deque[str] = deque()  # typed, not yet spoken
        self._waiting: deque[str] = deque()  # spoken, not yet recognised
        self._marks: deque[tuple[int, str]] = deque()
        self._frame_at = 0
        self._frame = -1  # of the line being spoken
        self._time_ms = 0
        self._playing_until = 0
        self._begun = self._over = False

    @property
    def deadline(self) -> int | None:
        if not self._begun:
            return 0
        times = [] if self._call.deadline is None else [self._call.deadline]
        if not self._over:
            times += [self._frame_at, *(at for at, _ in list(self._marks)[:1])]
        return min(times, default=None)

    def reserve(self) -> ConnId:
        return self._call.reserve()

    def understood(self, pcm: bytes, rate: int) -> str:
        """The ear: the line that was typed."""
        return self._waiting.popleft() if self._waiting else ""

    def handle(self, now: int, fact: Fact) -> list[Order]:
        out: list[Order] = []
        if isinstance(fact, Asked) and fact.verb == "type":
            self._said.append(str(fact.args.get("text", "")))
            out.append(Answer(fact.ask))
        elif isinstance(fact, Asked) and fact.verb == "caller_hangs_up":
            out.append(Answer(fact.ask))
            self._stop(now, out)
        else:
            self._step(now, fact, out)
        if not self._begun:
            self._begun = True
            self._frame_at = now
            self._step(now, Connected(self._call.conn), out)
            self._hear(now, self._peer.connected(), out)
            self._hear(now, self._peer.start(), out)
        while self._marks and self._marks[0][0] <= now and not self._over:
            self._hear(now, self._peer.mark(self._marks.popleft()[1]), out)
        while self._frame_at <= now and not self._over:
            self._frame_at += _FRAME_US
            self._time_ms += 20
            self._hear(now, self._peer.media(self._next(), self._time_ms), out)
        return out

    def _next(self) -> bytes:
        """20 ms of the caller."""
        if self._frame < 0 and self._said:
            self._frame = 0
            self._waiting.append(self._said.popleft())
        if self._frame < 0:
            return _QUIET
        frame, self._frame = self._frame, self._frame + 1
        if self._frame >= _FRAMES + _PAUSE:
            self._frame = -1
        return _VOICE[frame * 160 : (frame + 1) * 160] or _QUIET

    def _hear(self, now: int, text: str, out: list[Order]) -> None:
        self._step(now, Received(self._call.conn, text), out)

    def _stop(self, now: int, out: list[Order]) -> None:
        """The caller's line is gone."""
        if not self._over:
            self._over = True
            self._step(now, Received(self._call.conn, self._peer.stop()), out)
            self._step(now, InputEnded(self._call.conn), out)

    def _step(self, now: int, fact: Fact, out: list[Order]) -> None:
        parted = False
        for order in self._call.handle(now, fact):
            match order:
                case Send(conn, str(text)) if conn == self._call.conn:
                    self._sent(now, text)
                case Close(conn) | Abort(conn) if conn == self._call.conn:
                    self._over = True
                case Pause(source) | Resume(source) if source == self._call.conn:
                    pass
                case Request(url=url) if url.startswith(_CARRIER):
                    self._carrier(now, order, out)
                case Notify(TransferStepped(step="sent" | "consulting")):
                    out.append(order)
                    parted = True
                case _:
                    out.append(order)
        if parted:  # nobody is there to be put through to
            self._call.finish(now, EndReason.TRANSFERRED)
            self._step(now, Ticked(), out)

    def _sent(self, now: int, text: str) -> None:
        match self._peer.receive(text):
            case Played(payload):
                self._playing_until = max(now, self._playing_until) + len(payload) * 125
            case Marked(name):
                self._marks.append((max(now, self._playing_until), name))
            case Cleared():
                self._playing_until = now
                self._marks = deque((now, name) for _, name in self._marks)

    def _carrier(self, now: int, order: Request, out: list[Order]) -> None:
        """The carrier says yes to everything, and does one thing: it hangs up."""
        self._step(now, ResponseStarted(order.request, 200), out)
        self._step(now, BodyEnded(order.request), out)
        if parse_qs(order.body.decode("utf-8", "replace")).get("Status") == ["completed"]:
            self._stop(now, out)


def read_piped() -> str:
    """A line of a standard input that is no terminal. Read without Python's own buffer: a thread that waits in there
    when the interpreter ends brings it down."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            if line:
                break
            raise EOFError
        line += piece
    return line.decode("utf-8", "replace")


class Terminal:
    """Whoever types, and what is written for them. ``read`` None is standard input; a script that is piped into it
    waits for the agent's answer before its next line."""

    def __init__(self, board: TextCall, read: Callable[[], str] | None, write: Callable[[str], object]) -> None:
        self._board = board
        self._piped = read is None and not sys.stdin.isatty()
        self._answered = threading.Event()
        self._read: Callable[[], str] = read or (read_piped if self._piped else input)
        self._write = write
        self._history: list[str] = []
        self._drive: Any = None

    def told(self, event: Any) -> None:
        """Something happened in the call."""
        match event:
            case TranscriptLine(role=role, text=text):
                self._history.append(f"{role}: {text}")
                if role != "user":
                    self._answered.set()
                    self._write(f"{role}: {text}")
            case TransferStepped(step=step, to=to, detail=detail):
                why = f": {detail}" if detail else ""
                self._write(f"(transfer to {to} refused{why})" if step == "refused" else f"(transfer to {to})")
            case ToolRan():
                self._write(f"({event.name}: {'done' if event.ok else 'failed'})")
            case CallEnded():
                self._answered.set()
                left = event.reason is EndReason.CANCELLED
                self._write("(the call is over: you left)" if left else f"(the call is over: {event.reason.value})")

    def begin(self, drive: Any) -> None:
        """The call runs: listen to the keyboard. A thread that waits for a key cannot be stopped, only left."""
        self._drive = drive
        self._write(HELP)
        threading.Thread(target=self._listen, name="patter-terminal", daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                line = self._read().strip()
            except (EOFError, ValueError, OSError):
                line = "/quit"
            if self._piped:
                self._answered.wait(_PATIENCE_S)
                if line and not line.startswith("/"):
                    self._answered.clear()
            if line == "/quit":
                self._feed(StopRequested())
                return
            if line == "/history":
                for said in list(self._history):
                    self._write(f"  {said}")
            elif line == "/hangup":
                self._feed(Asked(AskId(-1), "caller_hangs_up"))
            elif line.startswith("/transfer"):
                self._transfer(line.removeprefix("/transfer").strip())
            elif line.startswith("/"):
                self._write(HELP)
            elif line:
                self._feed(Asked(AskId(-1), "type", {"text": line}))

    def _transfer(self, number: str) -> None:
        if not number:
            self._write("to which number? /transfer +15550002222")
            return
        self._feed(Asked(AskId(-1), "transfer", {"call_id": CALL_ID, "to": number, "summary": "", "by_model": False}))

    def _feed(self, fact: Fact) -> None:
        self._drive.post(self._drive.feed, fact)
