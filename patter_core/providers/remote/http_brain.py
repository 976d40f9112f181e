"""The application's server, asked with one POST for each message.

The body is the payload an ``on_message`` function would get, as JSON. The answer is text, spoken as it comes; or JSON,
{"text": "..."} or a string; or server-sent events, each of them text or {"text"} and, at the end, {"done": true}.
Nothing is asked twice: what the server did with the first request is not ours to know. What fails is apologised for.
"""

from __future__ import annotations

import msgspec

from ...call.words import Drop, Fetch, FetchEnded, FetchFailed, FetchGot, FetchStarted, Inward
from ...engines.engine import EngineContext, ProviderWarned, StageFailed, ToolAnswered
from ...engines.stages import BrainOrder, Question, Replied, Text
from ...settings import CallSettings
from ...timers import Timers, later
from ..events import SseReader
from ..sendable import to_json
from .options import RemoteSpec
from .pieces import REPLY_BYTES, Piece, Utf8, piece_of

__all__ = ["RemoteBrain"]

_BODY = 1 << 20  # of an answer: its text may be 64 KiB, the events around it several times that
_WHOLE = 6 * REPLY_BYTES + 1024  # of JSON: a text written all in \uXXXX is six times as long
_CLOSE_S = 2.0  # a body that has said it is done, but does not end
_HEADERS = (
    ("Content-Type", "application/json"),
    ("Accept", "text/event-stream, application/json;q=0.9, text/plain;q=0.8"),
)
_WHOLE_DECODER: msgspec.json.Decoder[Piece | str | None] = msgspec.json.Decoder(Piece | str | None)


class RemoteBrain:
    """``Brain`` of one call."""

    def __init__(self, spec: RemoteSpec, prefix: str, context: EngineContext, settings: CallSettings) -> None:
        self._spec = spec
        self._prefix = prefix
        self._settings = settings
        self._timers: Timers[str] = Timers()
        self._count = 0
        self._warned = False
        self._gone = False
        self._replying = False
        self._fetch = ""  # '' once the answer has ended
        self._kind = ""  # of the answer: '', "json", "events", "text"
        self._size = 0  # of the text so far
        self._body = bytearray()
        self._utf8 = Utf8()
        self._events = SseReader()

    @property
    def deadline(self) -> int | None:
        return self._timers.deadline

    def begin(self, now: int) -> list[BrainOrder]:
        return []

    def reply(self, now: int, question: Question) -> list[BrainOrder]:
        if self._gone:
            return []
        out = self.stop(now)
        self._count += 1
        self._replying = True
        self._fetch = f"{self._prefix}{self._count}"
        self._kind = ""
        self._size = 0
        self._body = bytearray()
        self._utf8 = Utf8()
        self._events = SseReader()
        self._timers.set("reply", later(now, self._settings.reply_s))
        body = to_json(question.payload)
        out.append(Fetch(self._fetch, "POST", self._spec.url, _HEADERS, body, sign=self._spec.sign, max_body=_BODY))
        return out

    def tool_answered(self, now: int, answer: ToolAnswered) -> list[BrainOrder]:
        return []

    def stop(self, now: int) -> list[BrainOrder]:
        self._replying = False
        self._timers.clear("reply")
        fetch, self._fetch = self._fetch, ""
        return [Drop(fetch)] if fetch else []

    def end(self, now: int) -> list[BrainOrder]:
        self._gone = True
        out = self.stop(now)
        while (at := self._timers.deadline) is not None and (timer := self._timers.due(at)) is not None:
            out.append(Drop(timer.removeprefix("tail ")))
        return out

    def tick(self, now: int) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        while (timer := self._timers.due(now)) is not None:
            if timer == "reply":
                self._fail(now, f"took longer than reply_s ({self._settings.reply_s:g} s)", out)
            else:
                out.append(Drop(timer.removeprefix("tail ")))
        return out

    def handle(self, now: int, fact: Inward) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        if not fact.name or fact.name != self._fetch:
            if isinstance(fact, FetchEnded | FetchFailed):
                self._timers.clear(f"tail {fact.name}")
            return out
        match fact:
            case FetchGot(_, data):
                self._got(now, data, out)
            case FetchStarted(_, status, headers):
                self._started(now, status, headers.get("content-type", ""), out)
            case FetchEnded():
                self._fetch = ""
                self._ended(now, out)
            case FetchFailed(_, fault):
                self._fetch = ""
                self._fail(now, f"could not be reached, or broke off ({fault.value})", out)
        return out

    # --- inside ------------------------------------------------------------------------------------------------------

    def _started(self, now: int, status: int, content_type: str, out: list[BrainOrder]) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        if not 200 <= status < 300:
            why = "; redirects are not followed, write the URL it leads to" if 300 <= status < 400 else ""
            self._fail(now, f"answered {status}{why}", out)
        elif kind == "application/json" or kind.endswith("+json"):
            self._kind = "json"
        elif kind == "text/event-stream":
            self._kind = "events"
        elif kind in ("", "text/plain") or status == 204:
            self._kind = "text"
        else:
            self._fail(now, f"answered {kind[:60]}: it must be text/plain, application/json or text/event-stream", out)

    def _got(self, now: int, data: bytes, out: list[BrainOrder]) -> None:
        if self._kind == "json":
            self._body += data
            if len(self._body) > _WHOLE:
                self._fail(now, f"answered more than {REPLY_BYTES >> 10} KiB", out)
        elif self._kind == "events":
            for event in self._events.push(data):
                self._event(now, event.event, event.data, out)
                if not self._replying:
                    return
        else:
            self._say(now, self._utf8.push(data), out)

    def _ended(self, now: int, out: list[BrainOrder]) -> None:
        if self._kind == "json":
            self._whole(now, out)
        elif self._kind == "events":
            for event in self._events.end():
                if self._replying:
                    self._event(now, event.event, event.data, out)
        else:
            self._say(now, self._utf8.end(), out)
        if self._replying:
            self._over(out)

    def _whole(self, now: int, out: list[BrainOrder]) -> None:
        try:
            said = _WHOLE_DECODER.decode(bytes(self._body)) if self._body.strip() else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._fail(now, 'answered JSON that is neither {"text": "..."} nor a string', out)
            return
        if isinstance(said, Piece):
            if said.error:
                self._fail(now, f"says: {said.error[:200]}", out)
                return
            said = said.text
        self._say(now, said or "", out)

    def _event(self, now: int, name: str, data: str, out: list[BrainOrder]) -> None:
        if data.strip() == "[DONE]":
            self._done(now, out)
            return
        piece = piece_of(data)
        if piece is None:
            if not self._warned:
                self._warned = True
                out.append(ProviderWarned("on_message", "malformed", "an event that cannot be read was left out"))
        elif piece.error or name == "error":
            self._fail(now, f"says: {(piece.error or piece.text or 'error')[:200]}", out)
        else:
            self._say(now, piece.text or "", out)
            if piece.done and self._replying:
                self._done(now, out)

    def _done(self, now: int, out: list[BrainOrder]) -> None:
        """The server says so itself; the body may end by itself."""
        if self._fetch:
            self._timers.set(f"tail {self._fetch}", later(now, _CLOSE_S))
            self._fetch = ""
        self._over(out)

    def _say(self, now: int, text: str, out: list[BrainOrder]) -> None:
        if not text:
            return
        data = text.encode("utf-8", "replace")
        room = REPLY_BYTES - self._size
        self._size += len(data)
        if len(data) <= room:
            out.append(Text(text))
            return
        if head := data[:room].decode("utf-8", "ignore"):
            out.append(Text(head))
        self._fail(now, f"answered more than {REPLY_BYTES >> 10} KiB", out)

    def _over(self, out: list[BrainOrder]) -> None:
        self._replying = False
        self._timers.clear("reply")
        out.append(Replied())

    def _fail(self, now: int, detail: str, out: list[BrainOrder]) -> None:
        out.extend(self.stop(now))
        out.append(StageFailed("reply", f"on_message {detail}"))
        out.append(Replied())
