"""What a connection is, whichever loop moves its bytes: its stages, its TLS, and which facts it owes.

An adapter subclasses ``Line`` with six verbs that move bytes and calls four methods that tell what happened. Somebody
else's framing (a web framework's WebSocket) is a ``Line`` too.
"""

from __future__ import annotations

import abc
import enum
import ssl
from collections.abc import Callable
from functools import partial
from typing import Protocol

from patter_core.contract import Closed, Connected, ConnectFailed, ConnId, Fact, Fault, InputEnded, Received, Sent

from .tls import Tls

__all__ = ["Carrier", "Line", "Stage"]


class Carrier(Protocol):
    """The drive, as a line sees it."""

    def feed(self, fact: Fact, /) -> None: ...

    def forget(self, conn: ConnId, /) -> None: ...


class Stage(enum.Enum):
    """Where a line is in its life."""

    OPENING = "opening"  #: being dialled, or being accepted
    SHAKING = "shaking"  #: bytes move, TLS is not agreed
    OPEN = "open"
    CLOSING = "closing"  #: flushing; only ``Sent`` and the end are still reported
    DROPPED = "dropped"  #: waiting for the loop to let go; only the end is still reported
    GONE = "gone"  #: the terminal fact was fed


_EARLY = (Stage.OPENING, Stage.SHAKING)


class Line(abc.ABC):
    """One connection of a drive. ``announced``: the board knows it already (it was accepted)."""

    def __init__(self, drive: Carrier, conn: ConnId, tls: Tls | None = None, *, announced: bool = False) -> None:
        self.conn = conn
        self.stage = Stage.OPENING
        self._drive = drive
        self._tls = tls
        self._announced = announced
        self._fault = Fault.RESET
        self._total = 0
        self._held: list[Callable[[], None]] = []  # ordered before there was anything to do it with
        self._finished = False
        self._input_over = False

    # --- orders ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes | str, ack: bool, secret: bytes = b"") -> None:
        """``Send``; ``secret`` is a header line that goes after the first line of ``data``, and is not counted."""
        if self.stage is Stage.OPEN:
            self._total += len(data)
            if secret and isinstance(data, bytes):
                first, end, rest = data.partition(b"\r\n")
                data = first + end + secret + rest
            raw = data if self._tls is None else self._tls.send(data)  # type: ignore[arg-type]  # text has no TLS
            self._put(raw, self._total if ack else None)
        elif self.stage in _EARLY:
            self._held.append(partial(self.send, data, ack, secret))

    def finish(self) -> None:
        """``Finish``; when the peer finished first, that is the end."""
        if self.stage in _EARLY:
            self._held.append(self.finish)
        elif self._tls is not None or self._input_over:
            self.close()
        elif self.stage is Stage.OPEN and not self._finished:
            self._finished = True
            self._end_output()

    def close(self) -> None:
        """``Close``; while the connection is still being dialled, ``Abort``."""
        if self.stage is Stage.OPEN:
            self.stage = Stage.CLOSING
            if self._tls is not None:
                self._put(self._tls.farewell(), None)
            self._shut()
        elif self.stage in _EARLY:
            if self._announced:
                self._held.append(self.close)
            else:
                self.abort()

    def abort(self) -> None:
        """``Abort``."""
        if self.stage is not Stage.GONE:
            self._break(Fault.CANCELLED)
            self._drop()

    def pause(self) -> None:
        """``Pause``; a handshake is not held up."""
        if self.stage in _EARLY:
            self._held.append(self.pause)
        else:
            self._hold()

    def resume(self) -> None:
        """``Resume``."""
        if self.stage in _EARLY:
            self._held.append(self.resume)
        else:
            self._go_on()

    # --- what happened -----------------------------------------------------------------------------------------------

    def ready(self) -> None:
        """Bytes can move."""
        if self.stage is not Stage.OPENING:
            return
        if self._tls is None:
            self._opened()
            return
        self.stage = Stage.SHAKING
        self._tls.start()
        self._put(self._tls.take(), None)

    def got(self, data: bytes | str) -> None:
        """These came in."""
        if self._tls is not None:
            self._unseal(data)  # type: ignore[arg-type]  # text has no TLS
        elif self.stage is Stage.OPEN:
            self._drive.feed(Received(self.conn, data))

    def ended(self) -> None:
        """The peer will send no more."""
        if self._tls is not None:
            self._unseal(b"")
        else:
            self._end_input()

    def left(self, total: int) -> None:
        """An acknowledged ``Send`` is out of this process."""
        if self.stage in (Stage.OPEN, Stage.CLOSING):
            self._drive.feed(Sent(self.conn, total))

    def gone(self, fault: Fault | None = None, status: int | None = None) -> None:
        """It is over: tell it, once."""
        if self.stage is Stage.GONE:
            return
        if fault is not None and self.stage is not Stage.DROPPED:
            self._fault = fault
        self.stage = Stage.GONE
        self._drive.forget(self.conn)
        self._drive.feed(Closed(self.conn, status) if self._announced else ConnectFailed(self.conn, self._fault))

    def _break(self, fault: Fault) -> None:
        if self.stage is not Stage.DROPPED:
            self.stage = Stage.DROPPED
            self._fault = fault

    def _opened(self) -> None:
        self.stage = Stage.OPEN
        held, self._held = self._held, []
        for order in held:
            order()
        if not self._announced:
            self._announced = True
            self._drive.feed(Connected(self.conn))

    def _unseal(self, data: bytes) -> None:
        tls = self._tls
        if tls is None or self.stage not in (Stage.SHAKING, Stage.OPEN):
            return
        try:
            plain = tls.receive(data)
        except ssl.SSLError:
            self._break(Fault.TLS)
            self._put(tls.take(), None)  # the alert, so that the peer's log can say why
            self._shut()
            return
        if answer := tls.take():
            self._put(answer, None)
        if tls.ready and self.stage is Stage.SHAKING:
            self._opened()
        if plain and self.stage is Stage.OPEN:
            self._drive.feed(Received(self.conn, plain))
        if tls.ended:
            self._end_input()

    def _end_input(self) -> None:
        if self.stage is not Stage.OPEN or self._input_over:
            return
        self._input_over = True
        self._drive.feed(InputEnded(self.conn))
        if self._finished:
            self.close()

    # --- the loop's part ---------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _put(self, raw: bytes | str, total: int | None) -> None:
        """Write, in order, without waiting; call ``left(total)`` later, never from in here, if it is not None."""

    @abc.abstractmethod
    def _end_output(self) -> None:
        """After what was put: say that no more will come. Keep reading."""

    @abc.abstractmethod
    def _shut(self) -> None:
        """After what was put: close. ``gone`` follows."""

    @abc.abstractmethod
    def _drop(self) -> None:
        """Let go now. ``gone`` follows, later."""

    @abc.abstractmethod
    def _hold(self) -> None:
        """Read no more until ``_go_on``."""

    @abc.abstractmethod
    def _go_on(self) -> None:
        """Read on."""
