"""The simulated carrier's webhooks on their way: posted, timed out, repeated, doubled, held back."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..contract import CancelRequest, Fault, Order, Request, RequestId
from ..timers import Timers
from .callee import Misbehaviour
from .leg import Leg
from .places import read_place
from .side import CarrierSide, Post

__all__ = ["Delivered", "Postman"]

_RETRY_US = 1_000_000
_HOLD_US = 3_000_000
_KEEP = 64 * 1024


class Delivered(msgspec.Struct, frozen=True):
    """A webhook is through, or given up (``fault``). ``epoch`` is the leg's when it was posted."""

    leg: Leg
    post: Post
    epoch: int
    status: int
    body: bytes
    fault: Fault | None


class _Letter:
    def __init__(self, leg: Leg, post: Post, attempt: int, echo: bool, epoch: int) -> None:
        self.leg = leg
        self.post = post
        self.attempt = attempt
        self.echo = echo  # a duplicate: nobody reads its answer
        self.epoch = epoch
        self.status = 0
        self.body = b""


class Postman:
    """Names come from ``name``; orders go to ``out``. ``reach`` is (host, port, tls) where the server really is."""

    def __init__(
        self,
        side: CarrierSide,
        out: list[Order],
        timers: Timers[tuple[str, int]],
        name: Callable[[], int],
        reach: tuple[str, int, bool] | None,
        upset: frozenset[Misbehaviour],
        epoch_us: int,
    ) -> None:
        self._side = side
        self._out = out
        self._timers = timers
        self._name = name
        self._reach = reach
        self._doubles = Misbehaviour.DUPLICATE_WEBHOOKS in upset
        self._reorders = Misbehaviour.REORDERED_REPORTS in upset
        self.epoch = epoch_us
        self._out_now: dict[int, _Letter] = {}
        self._waiting: dict[int, _Letter] = {}  # to be repeated
        self._held: dict[int, Post] = {}  # one per leg
        self._legs: dict[int, Leg] = {}

    @property
    def pending(self) -> bool:
        """Something is still to be delivered."""
        return bool(self._out_now or self._waiting or self._held)

    def post(self, now: int, leg: Leg, post: Post) -> bool:
        """Send a webhook. False for one whose URL leads nowhere."""
        if read_place(post.url, ("https", "http")) is None:
            return False
        if self._reorders and not post.program and not post.vital:
            held = self._held.pop(leg.number, None)
            if held is None:
                self._held[leg.number] = post
                self._legs[leg.number] = leg
                self._timers.set(("held", leg.number), now + _HOLD_US)
                return True
            self._send(now, leg, post)
            self._timers.clear(("held", leg.number))
            post = held
        self._send(now, leg, post)
        return True

    def _send(self, now: int, leg: Leg, post: Post) -> None:
        self._go(now, _Letter(leg, post, 1, False, leg.epoch))
        if self._doubles:
            self._go(now, _Letter(leg, post, 1, True, leg.epoch))

    def _go(self, now: int, letter: _Letter) -> None:
        post = letter.post
        headers, body = self._side.seal(post, letter.attempt, self.epoch + now)
        name = self._name()
        self._out_now[name] = letter
        self._timers.set(("post", name), now + post.patience_ms * 1000)
        self._out.append(Request(RequestId(name), "POST", self._where(post.url), headers, body))

    def _where(self, url: str) -> str:
        """The URL under which the public one is really reached."""
        if self._reach is None:
            return url
        host, port, tls = self._reach
        place = read_place(url, ("https", "http"))
        assert place is not None  # `post` looked
        query = f"?{place.query}" if place.query else ""
        return f"{'https' if tls else 'http'}://{host}:{port}{place.path}{query}"

    # --- what becomes of it ------------------------------------------------------------------------------------------

    def started(self, request: RequestId, status: int) -> None:
        """An answer begins."""
        if (letter := self._out_now.get(request)) is not None:
            letter.status = status

    def body(self, request: RequestId, data: bytes) -> None:
        """A piece of it; what is beyond any answer's size is dropped."""
        if (letter := self._out_now.get(request)) is not None and len(letter.body) < _KEEP:
            letter.body += data

    def ended(self, now: int, request: RequestId, fault: Fault | None) -> Delivered | None:
        """An answer is whole, or there is none. None while it is still to be repeated, or of no interest."""
        letter = self._out_now.pop(request, None)
        if letter is None:
            return None
        self._timers.clear(("post", int(request)))
        bad = fault is not None or letter.status in (408, 429) or letter.status >= 500
        if bad and letter.attempt < letter.post.attempts:
            letter.attempt += 1
            name = self._name()
            self._waiting[name] = letter
            self._timers.set(("repost", name), now + _RETRY_US)
            return None
        if letter.echo:
            return None
        return Delivered(letter.leg, letter.post, letter.epoch, letter.status, letter.body, fault)

    def due(self, now: int, kind: str, number: int) -> Delivered | None:
        """One of its timers fired: ``post``, ``repost`` or ``held``."""
        if kind == "post":
            self._out.append(CancelRequest(RequestId(number)))
            return self.ended(now, RequestId(number), Fault.TIMEOUT)
        if kind == "repost":
            letter = self._waiting.pop(number)
            letter.status, letter.body = 0, b""
            self._go(now, letter)
        elif (post := self._held.pop(number, None)) is not None:
            self._send(now, self._legs.pop(number), post)
        return None
