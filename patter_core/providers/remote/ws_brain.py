"""The application's server, over one WebSocket for each call.

Each message goes out as {"type": "message", "id": "1", ...payload}. What comes back is text, or {"text": "..."}, until
{"done": true}. A server that puts the ``id`` in its answers can be interrupted at any time: what it still says to an
old message is known by it. One that does not is given a second after {"type": "interrupted"} to say ``done``; if it
does not, or the caller has said more by then, a new connection is the only way to be sure that no old words are spoken
as an answer to new ones. Nothing is asked twice.
"""

from __future__ import annotations

from ...call.words import CloseLink, Inward, LinkClosed, LinkOpened, LinkSaid, OpenLink, SayOnLink
from ...engines.engine import EngineContext, ProviderWarned, StageFailed, ToolAnswered
from ...engines.stages import BrainOrder, Question, Replied, Text
from ...settings import CallSettings
from ...timers import Timers, later
from ..sendable import to_json
from .options import RemoteLinkSpec
from .pieces import REPLY_BYTES, piece_of

__all__ = ["RemoteLinkBrain"]

_DIALS = 3  # in a row, without a word from the server; the next message may try again
_DIAL_AGAIN_S = 0.5  # before the second of them; doubled each time
_DRAIN_S = 1.0  # for an interrupted server to say that it is done
_GOODBYES = (1000, 1001)


class RemoteLinkBrain:
    """``Brain`` of one call."""

    def __init__(self, spec: RemoteLinkSpec, prefix: str, context: EngineContext, settings: CallSettings) -> None:
        self._spec = spec
        self._prefix = prefix
        self._call_id = context.call_id
        self._settings = settings
        self._timers: Timers[str] = Timers()
        self._count = 0  # links
        self._asked = 0  # messages
        self._warned = False
        self._gone = False
        self._link = ""
        self._open = False
        self._dials = 0
        self._ids: bool | None = None  # does this server put ids in its answers? None: it has not said anything yet
        self._relied = False  # on this link, on ids: what has none may belong to an old answer
        self._id = ""  # of the message being answered
        self._unsent = ""  # it, until the link is open
        self._draining = False  # an old answer may still come, and could not be told from a new one
        self._size = 0

    @property
    def deadline(self) -> int | None:
        return self._timers.deadline

    def begin(self, now: int) -> list[BrainOrder]:
        """The connection is made while the greeting is spoken."""
        out: list[BrainOrder] = []
        self._dial(out)
        return out

    def reply(self, now: int, question: Question) -> list[BrainOrder]:
        if self._gone:
            return []
        out = self.stop(now)
        if self._draining:
            self._redial(out)
        self._asked += 1
        self._id = str(self._asked)
        self._size = 0
        self._timers.set("reply", later(now, self._settings.reply_s))
        text = to_json({"type": "message", "id": self._id, **question.payload}).decode()
        if self._open:
            out.append(SayOnLink(self._link, text))
            return out
        self._unsent = text
        if not self._link:
            self._timers.clear("dial")
            self._dials = 0
            self._dial(out)
        return out

    def tool_answered(self, now: int, answer: ToolAnswered) -> list[BrainOrder]:
        return []

    def stop(self, now: int) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        if not self._id:
            return out
        self._timers.clear("reply")
        if not self._unsent and self._open:
            note = {"type": "interrupted", "id": self._id, "call_id": self._call_id}
            out.append(SayOnLink(self._link, to_json(note).decode()))
            if self._ids:
                self._relied = True
            else:
                self._draining = True
                self._timers.set("drain", later(now, _DRAIN_S))
        self._id = self._unsent = ""
        return out

    def end(self, now: int) -> list[BrainOrder]:
        self._gone = True
        self._id = self._unsent = ""
        for timer in ("reply", "drain", "dial"):
            self._timers.clear(timer)
        link, self._link = self._link, ""
        return [CloseLink(link)] if link else []

    def tick(self, now: int) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        while (timer := self._timers.due(now)) is not None:
            if timer == "reply":
                waited = f"within reply_s ({self._settings.reply_s:g} s)"
                what = 'did not say {"done": true}' if self._size else "did not answer"
                self._fail(now, f"{what} {waited}" if self._open else f"was not connected {waited}", out)
            elif timer == "drain":
                self._redial(out)
            else:
                self._dial(out)
        return out

    def handle(self, now: int, fact: Inward) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        if not fact.name or fact.name != self._link:
            return out
        match fact:
            case LinkSaid(_, text):
                self._said(now, text, out)
            case LinkOpened():
                self._open = True
                if self._unsent:
                    out.append(SayOnLink(self._link, self._unsent))
                    self._unsent = ""
            case LinkClosed():
                self._closed(now, fact, out)
        return out

    # --- the link ----------------------------------------------------------------------------------------------------

    def _dial(self, out: list[BrainOrder]) -> None:
        self._count += 1
        self._dials += 1
        self._link = f"{self._prefix}{self._count}"
        self._open = self._relied = self._draining = False
        self._timers.clear("drain")
        out.append(OpenLink(self._link, self._spec.url, (), self._spec.auth))

    def _redial(self, out: list[BrainOrder]) -> None:
        if self._link:
            out.append(CloseLink(self._link))
        self._dials = 0
        self._dial(out)

    def _closed(self, now: int, fact: LinkClosed, out: list[BrainOrder]) -> None:
        spoken = self._open  # somebody was there
        self._link = ""
        self._open = self._draining = False
        self._timers.clear("drain")
        if fact.status:
            self._dials = _DIALS  # it was understood, and refused: asking again changes nothing
        if spoken and self._id and not self._unsent:
            if self._size and fact.code in _GOODBYES:
                self._over(out)
            else:
                self._fail(now, f"closed the connection in the middle of a reply ({fact.code})", out)
        if spoken and fact.code in _GOODBYES:
            return  # it may be one that closes after each reply: the next message dials
        if self._dials < _DIALS:
            self._timers.set("dial", later(now, _DIAL_AGAIN_S * 2 ** (self._dials - 1) if self._dials else 0))
        elif self._id:
            why = f"refused the connection with status {fact.status}" if fact.status else "cannot be reached"
            reason = fact.fault.value if fact.fault else " ".join(fact.reason.split())[:200]
            self._fail(now, f"{why} ({reason})" if reason else why, out)

    # --- what it says ------------------------------------------------------------------------------------------------

    def _said(self, now: int, said: str, out: list[BrainOrder]) -> None:
        piece = piece_of(said)
        if piece is None:
            if not self._warned:
                self._warned = True
                out.append(ProviderWarned("on_message", "malformed", "a message that cannot be read was left out"))
            return
        if piece.id is not None:
            if self._ids is None:
                self._ids = True
            self._dials = 0
            if self._draining:  # the old answer can be told from a new one after all
                self._draining = False
                self._timers.clear("drain")
            if str(piece.id) != self._id:
                return
        else:
            self._ids = False
            if self._draining and (piece.done or piece.error):
                self._draining = False
                self._timers.clear("drain")
                return
            if self._draining or self._relied:
                return
        if not self._id or self._unsent:
            return
        self._dials = 0
        if piece.error:
            self._id_done()
            self._fail(now, f"says: {piece.error[:200]}", out)
            return
        if piece.text:
            self._say(now, piece.text, out)
        if piece.done and self._id:
            self._over(out)

    def _say(self, now: int, text: str, out: list[BrainOrder]) -> None:
        data = text.encode("utf-8", "replace")
        room = REPLY_BYTES - self._size
        self._size += len(data)
        if len(data) <= room:
            out.append(Text(text))
            return
        if head := data[:room].decode("utf-8", "ignore"):
            out.append(Text(head))
        self._fail(now, f"answered more than {REPLY_BYTES >> 10} KiB", out)

    def _id_done(self) -> None:
        self._id = self._unsent = ""
        self._timers.clear("reply")

    def _over(self, out: list[BrainOrder]) -> None:
        self._id_done()
        out.append(Replied())

    def _fail(self, now: int, detail: str, out: list[BrainOrder]) -> None:
        out.extend(self.stop(now))
        out.append(StageFailed("reply", f"on_message {detail}"))
        out.append(Replied())
