"""Carries a board on asyncio: hands it facts, starts its orders, wakes it at its deadline. Decides nothing.

The twin of ``patter_trio/_drive.py``: same classes, same methods, same order (``tests/adapters/test_alike.py``).
"""

from __future__ import annotations

import asyncio
import enum
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from patter_core.contract import (
    Abort,
    Accepted,
    Answer,
    Asked,
    AskId,
    Board,
    Cancel,
    CancelRequest,
    Close,
    Connect,
    ConnId,
    Exit,
    Fact,
    Finish,
    Invoke,
    Notify,
    Pause,
    Refuse,
    Request,
    Resume,
    Send,
    Spawn,
    StopListening,
    StopRequested,
    Ticked,
)
from patter_core.edge.handlers import Handler
from patter_core.edge.line import Line
from patter_core.edge.secrets import Secrets
from patter_core.edge.threads import Pools
from patter_core.edge.tls import client_context
from patter_core.errors import RefusedError

from ._jobs import Job, Jobs
from ._transport import Listening, ProcessLine, SocketLine, receive_buffer

__all__ = ["Drive", "carry"]

log = logging.getLogger("patter")


class Reply:
    """What an ``ask`` waits for."""

    def __init__(self) -> None:
        self._arrived = asyncio.Event()
        self._value: Any = None
        self._error: RefusedError | None = None

    def answer(self, value: Any) -> None:
        """Let the asker have this."""
        self._value = value
        self._arrived.set()

    def refuse(self, error: RefusedError) -> None:
        """Let the asker have nothing."""
        self._error = error
        self._arrived.set()

    async def result(self) -> Any:
        """The answer; raises the refusal."""
        await self._arrived.wait()
        if self._error is not None:
            raise self._error
        return self._value


class Phase(enum.Enum):
    """What ``feed`` may do with a fact."""

    NEW = "new"  #: not running yet: facts wait
    IDLE = "idle"
    BUSY = "busy"  #: the board is taking a step, or its orders are being started: facts wait (C8)
    OVER = "over"  #: facts are dropped


class Drive:
    """Carries one board, once.

    ``listener``: bound, listening sockets, closed when no longer needed. ``handlers``: what ``Invoke`` names.
    ``secrets``: what ``auth`` and ``sign`` of orders name: (header, its whole value), or ('', key) for a key that
    signs. ``on_event`` hears every ``Notify``.
    ``tls`` and ``server_tls``: contexts for what we dial and what we accept. ``leave_s``: how long user code has, after
    ``Exit``, to end once cancelled; then ``on_stuck`` hears the names of what did not. ``trust_env``: proxies from the
    environment.
    """

    def __init__(
        self,
        board: Board,
        *,
        listener: socket.socket | Sequence[socket.socket] | None = None,
        handlers: Mapping[str, Handler] | None = None,
        secrets: Mapping[str, tuple[str, str]] | None = None,
        on_event: Callable[[Any], object] | None = None,
        tls: ssl.SSLContext | None = None,
        server_tls: ssl.SSLContext | None = None,
        leave_s: float = 1.0,
        on_stuck: Callable[[list[str]], object] | None = None,
        trust_env: bool = False,
    ) -> None:
        self.server_tls = server_tls
        self.threads = Pools()
        self.buffer = receive_buffer()
        self.reserve = board.reserve
        self._board = board
        self._sockets = [listener] if isinstance(listener, socket.socket) else list(listener or ())
        self._on_event = on_event
        self._event_failed = False
        self._tls = tls
        self._leave_s = leave_s
        self._on_stuck = on_stuck
        self._phase = Phase.NEW
        self._code = 0
        self._crash: BaseException | None = None
        self._facts: deque[Fact] = deque([Ticked()])  # the first step: a board may have orders before anything happens
        self._floor = 0
        self._armed: int | None = None
        self._names = count(1)
        self._asks: dict[int, Reply] = {}
        self._lines: dict[ConnId, Line] = {}
        self._secrets = Secrets(secrets)
        self._jobs = Jobs(self, handlers if handlers is not None else {}, self._secrets, trust_env=trust_env)
        self._arms: dict[type, Callable[[Any], None]] = {
            Send: self._send,
            Connect: self._connect,
            Spawn: self._spawn,
            Finish: self._finish,
            Close: self._close,
            Abort: self._abort,
            Pause: self._pause,
            Resume: self._resume,
            Request: self._jobs.request,
            CancelRequest: self._jobs.cancel_request,
            Invoke: self._jobs.invoke,
            Cancel: self._jobs.cancel,
            Answer: self._answer,
            Refuse: self._refuse,
            Notify: self._notify,
            StopListening: self._stop_listening,
            Exit: self._exit,
        }
        self._servers: list[Listening] = []
        self._alarm: asyncio.TimerHandle | None = None

    # --- for the application -----------------------------------------------------------------------------------------

    async def run(self, started: Callable[[Drive], object] | None = None) -> int:
        """Carry the board until it orders ``Exit``; its code. ``started`` is told once the first step was taken.

        Raises what ``handle`` raised, if it did. Cancelled from outside, nothing is fed any more and all is let go.
        """
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        self._quiet = self._loop.create_future()
        self._start = self._loop.time()
        self._servers = [Listening(self, sock) for sock in self._sockets]
        self._sockets.clear()
        try:
            self._step()
            for server in self._servers:
                server.start()
            if started is not None:
                started(self)
            await self._done.wait()
        finally:
            self._stop_all()
            await self._leave()
        if self._crash is not None:
            raise self._crash
        return self._code

    async def ask(self, verb: str, /, **args: Any) -> Any:
        """Want something of the board: its ``Answer``. Raises ``RefusedError``, code ``stopped`` when it has ended."""
        if self._phase is Phase.OVER:
            raise RefusedError("stopped")
        ask, reply = AskId(next(self._names)), Reply()
        self._asks[ask] = reply
        try:
            self.feed(Asked(ask, verb, args))
            return await reply.result()
        finally:
            self._asks.pop(ask, None)

    def stop(self) -> None:
        """Ask the board to stop; once more hurries it. From a task or callback of this loop."""
        self.feed(StopRequested())

    def stop_soon(self) -> None:
        """``stop``, from any thread or signal handler."""
        if self._phase is Phase.NEW:
            self._facts.append(StopRequested())
        else:
            self.post(self.stop)

    def feed(self, fact: Fact) -> None:
        """Hand the board a fact: now, or, while it takes a step, right after. From this loop's thread only."""
        if self._phase is Phase.OVER:
            return
        self._facts.append(fact)
        if self._phase is Phase.IDLE:
            self._step()

    def post(self, call: Callable[..., None], *args: Any) -> None:
        """Call this on the loop, from any thread. Nothing happens when the loop is gone."""
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            pass  # the loop was closed: nobody listens

    # --- for lines ---------------------------------------------------------------------------------------------------

    def adopt(self, line: Line) -> None:
        """Let ``line`` carry out what is ordered of its connection from now on."""
        self._lines[line.conn] = line

    def admit(self, line: Line, peer: str) -> None:
        """A connection was accepted."""
        self.adopt(line)
        if self._phase is Phase.OVER:
            line.abort()
        else:
            self.feed(Accepted(line.conn, peer))

    def forget(self, conn: ConnId) -> None:
        """A connection has ended."""
        self._lines.pop(conn, None)
        if not self._lines and self._phase is Phase.OVER and not self._quiet.done():
            self._quiet.set_result(None)

    def client_tls(self) -> ssl.SSLContext:
        """The context for connections we dial."""
        if self._tls is None:
            self._tls = client_context()
        return self._tls

    # --- steps and time ----------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return max(self._floor, int((self._loop.time() - self._start) * 1_000_000))

    def _step(self) -> None:
        self._phase = Phase.BUSY
        try:
            while self._facts:
                for order in self._board.handle(self._now(), self._facts.popleft()):
                    self._arms[type(order)](order)
            deadline = self._board.deadline
        except BaseException as exc:  # Ctrl-C too: whoever fed the fact must not take it for its own
            self._crash = exc
            self._exit(Exit(1))
            return
        if self._phase is Phase.BUSY:
            self._phase = Phase.IDLE
            self._wind(deadline)

    def _wind(self, deadline: int | None) -> None:
        # Only ever earlier: a deadline that moved on is looked at again when the old one rings.
        if deadline is None or (self._armed is not None and self._armed <= deadline):
            return
        self._armed = deadline
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(self._start + deadline / 1_000_000, self._ring)

    def _ring(self) -> None:
        armed, self._armed = self._armed, None
        if armed is None or self._phase is Phase.OVER:
            return
        self._floor = max(self._floor, armed)  # the loop's clock may be a little early
        deadline = self._board.deadline
        if deadline is not None and deadline <= self._now():
            self.feed(Ticked())
        else:
            self._wind(deadline)

    # --- orders: connections -----------------------------------------------------------------------------------------

    def _connect(self, order: Connect) -> None:
        line = SocketLine(self, order.conn)
        self.adopt(line)
        line.dial(order)

    def _spawn(self, order: Spawn) -> None:
        line = ProcessLine(self, order.conn)
        self.adopt(line)
        line.spawn(order.argv)

    def _send(self, order: Send) -> None:
        line = self._lines.get(order.conn)
        if line is None:
            return
        secret = self._secrets.line(order)
        if secret is None:
            line.abort()
        else:
            line.send(order.data, order.ack, secret)

    def _finish(self, order: Finish) -> None:
        line = self._lines.get(order.conn)
        if line is not None:
            line.finish()

    def _close(self, order: Close) -> None:
        line = self._lines.get(order.conn)
        if line is not None:
            line.close()

    def _abort(self, order: Abort) -> None:
        line = self._lines.get(order.conn)
        if line is not None:
            line.abort()

    def _pause(self, order: Pause) -> None:
        source = self._source(order.source)
        if source is not None:
            source.pause()

    def _resume(self, order: Resume) -> None:
        source = self._source(order.source)
        if source is not None:
            source.resume()

    def _source(self, name: int) -> Line | Job | None:
        return self._lines.get(ConnId(name)) or self._jobs.find(name)

    # --- orders: the application and the way out ---------------------------------------------------------------------

    def _answer(self, order: Answer) -> None:
        reply = self._asks.pop(order.ask, None)
        if reply is not None:
            reply.answer(order.value)

    def _refuse(self, order: Refuse) -> None:
        reply = self._asks.pop(order.ask, None)
        if reply is not None:
            reply.refuse(RefusedError(order.code, order.detail))

    def _notify(self, order: Notify) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(order.event)
        except BaseException:  # user code, which ends nothing
            if not self._event_failed:
                self._event_failed = True
                log.exception("on_event raised; said once")

    def _stop_listening(self, order: StopListening) -> None:
        for server in self._servers:
            server.close()
        for sock in self._sockets:
            sock.close()
        self._servers.clear()
        self._sockets.clear()

    def _exit(self, order: Exit) -> None:
        self._code = order.code
        self._phase = Phase.OVER
        self._facts.clear()
        self._done.set()

    # --- afterwards --------------------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        """Let go of everything; from here on nothing is fed."""
        self._phase = Phase.OVER
        self._facts.clear()
        if self._alarm is not None:
            self._alarm.cancel()
        self._stop_listening(StopListening())
        for reply in list(self._asks.values()):
            reply.refuse(RefusedError("stopped"))
        self.threads.close()  # before the jobs: a thread that one of them gives up must not begin the next
        self._jobs.stop_all()
        for line in list(self._lines.values()):
            line.abort()

    async def _leave(self) -> None:
        """Wait, at most ``leave_s`` each, for what was let go. What is deaf to it is named and left behind."""
        if self._jobs.running:
            await asyncio.wait(self._jobs.running, timeout=self._leave_s)
        if self._jobs.running:
            self._stuck(sorted(self._jobs.running.values()))
        if self._lines:
            await asyncio.wait([self._quiet], timeout=self._leave_s)
        await asyncio.sleep(0)  # a connection accepted in the last moment meets its end here
        await self._jobs.close(self._leave_s)

    def _stuck(self, names: list[str]) -> None:
        log.error("still running %g s after the end: %s", self._leave_s, ", ".join(names))
        if self._on_stuck is not None:
            self._on_stuck(names)


async def carry(
    board: Board,
    *,
    listener: socket.socket | Sequence[socket.socket] | None = None,
    handlers: Mapping[str, Handler] | None = None,
    secrets: Mapping[str, tuple[str, str]] | None = None,
    on_event: Callable[[Any], object] | None = None,
    tls: ssl.SSLContext | None = None,
    server_tls: ssl.SSLContext | None = None,
    leave_s: float = 1.0,
    on_stuck: Callable[[list[str]], object] | None = None,
    trust_env: bool = False,
    started: Callable[[Drive], object] | None = None,
) -> int:
    """Carry ``board`` until it orders ``Exit`` and return its code. Options: see ``Drive``, which ``started`` gets."""
    drive = Drive(
        board,
        listener=listener,
        handlers=handlers,
        secrets=secrets,
        on_event=on_event,
        tls=tls,
        server_tls=server_tls,
        leave_s=leave_s,
        on_stuck=on_stuck,
        trust_env=trust_env,
    )
    return await drive.run(started)
