"""How bytes move on asyncio: sockets and processes as lines."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, cast

from patter_core.contract import Connect, ConnId, Fault
from patter_core.edge.faults import fault_of
from patter_core.edge.line import Line, Stage
from patter_core.edge.sockets import AcceptTrouble, Address, interleave, numeric, peer_name
from patter_core.edge.threads import Threads
from patter_core.edge.tls import Tls

if TYPE_CHECKING:
    from ._drive import Drive

__all__ = ["Listening", "ProcessLine", "SocketLine"]

log = logging.getLogger("patter")

RECEIVE_BUFFER = 65536  #: bytes; one for all connections of a drive: a fresh 256 KiB per read costs two page faults
ACCEPT_BATCH = 32  #: connections taken in one pass: a burst gets in, and those already here are not held up by it
STAGGER_S = 0.25  #: RFC 8305's delay before the next address is tried too


def receive_buffer() -> memoryview:
    """The buffer all lines of a drive read into: what came is copied out before anything else runs."""
    return memoryview(bytearray(RECEIVE_BUFFER))


class Listening:
    """Accepts connections on a bound, listening socket, from ``start`` to ``close``.

    ``loop.create_server`` does the same, but when file descriptors run out it tries as often as its backlog is long,
    with a line in the log for each, and again at once for each connection it let go.
    """

    def __init__(self, drive: Drive, sock: socket.socket) -> None:
        self._drive = drive
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._trouble = AcceptTrouble()
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)

    def start(self) -> None:
        """Accept whoever comes."""
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def close(self) -> None:
        """Accept nobody any more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _accept(self) -> None:
        for _ in range(ACCEPT_BATCH):
            try:
                accepted, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return  # that was all
            except OSError as exc:
                if pause_s := self._trouble.met(exc, self._loop.time()):
                    self._loop.remove_reader(self._sock)
                    self._pause = self._loop.call_later(pause_s, self.start)
                    return
            else:
                self._welcome(accepted, peer_name(address))

    def _welcome(self, sock: socket.socket, peer: str) -> None:
        drive = self._drive
        try:
            tls = Tls(drive.server_tls) if drive.server_tls is not None else None
            line = SocketLine(drive, drive.reserve(), tls, announced=True)
        except BaseException:
            sock.close()
            raise
        drive.adopt(line)  # the board is told later, but the end may come before
        line.accepted(sock, peer)


class _Outlet(Line):
    """Acknowledgements: asyncio tells when its buffer is empty, and how much is in it."""

    _pipe: asyncio.WriteTransport | None = None

    def __init__(self, drive: Drive, conn: ConnId, tls: Tls | None = None, *, announced: bool = False) -> None:
        super().__init__(drive, conn, tls, announced=announced)
        self._loop = asyncio.get_running_loop()
        self._written = 0
        self._owed: deque[tuple[int, int]] = deque()  # (where in the written bytes, the total to report)
        self._settling = False

    def _attach(self, pipe: asyncio.WriteTransport) -> None:
        self._pipe = pipe
        pipe.set_write_buffer_limits(high=0)  # resume_writing then means: all of it left

    def _put(self, raw: bytes | str, total: int | None) -> None:
        pipe = self._pipe
        if pipe is None or pipe.is_closing():
            return
        pipe.write(cast(bytes, raw))
        self._written += len(raw)
        if total is not None:
            self._owed.append((self._written, total))
            self._settle_soon()

    def _settle_soon(self) -> None:
        # Not at once, even if the buffer is empty: an endless source must not starve the loop. And not from within
        # resume_writing: a transport closed there tears itself down twice.
        if not self._settling:
            self._settling = True
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        self._settling = False
        pipe = self._pipe
        if pipe is None:
            return
        left = self._written - pipe.get_write_buffer_size()
        while self._owed and self._owed[0][0] <= left:
            self.left(self._owed.popleft()[1])

    def pause_writing(self) -> None:
        """The core counts bytes; nothing to do."""

    def resume_writing(self) -> None:
        if self._owed:
            self._settle_soon()


class SocketLine(_Outlet, asyncio.BufferedProtocol):
    """A TCP connection, dialled or accepted."""

    def __init__(self, drive: Drive, conn: ConnId, tls: Tls | None = None, *, announced: bool = False) -> None:
        super().__init__(drive, conn, tls, announced=announced)
        self._owner = drive
        self._view = drive.buffer
        self._transport: asyncio.Transport | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._welcome: asyncio.Task[None] | None = None
        self._peer = ""

    # --- accepting ---------------------------------------------------------------------------------------------------

    def accepted(self, sock: socket.socket, peer: str) -> None:
        """Start with a socket that ``accept`` gave."""
        self._peer = peer  # it came with the connection: asking for it later could fail, for the peer may be gone again
        self._welcome = self._loop.create_task(self._take_over(sock), name="patter accept")
        self._welcome.add_done_callback(partial(self._taken_over, sock))

    async def _take_over(self, sock: socket.socket) -> None:
        await self._loop.connect_accepted_socket(lambda: self, sock)

    def _taken_over(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        if self._transport is None:  # nobody was told of it
            sock.close()
            self._owner.forget(self.conn)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("a connection that was accepted could not be used: %s", exc)

    # --- dialling ----------------------------------------------------------------------------------------------------

    def dial(self, order: Connect) -> None:
        """Start to connect."""
        self._dialling = self._loop.create_task(self._dial(order), name=f"patter dial {order.host}")
        # A task cancelled before its first step never runs, not even its finally: only its callback is sure.
        self._dialling.add_done_callback(self._dialled)

    async def _dial(self, order: Connect) -> None:
        if order.tls:
            self._tls = Tls(self._owner.client_tls(), server_name=order.host)
        sock = await _reach(await self._rows(order))
        await self._loop.create_connection(lambda: self, sock=sock)

    async def _rows(self, order: Connect) -> list[Address]:
        try:
            return numeric(order.addresses or (order.host,), order.port)
        except socket.gaierror:
            if order.addresses:
                raise
        return interleave(await _look_up(self._owner.threads.names, order.host, order.port))

    def _dialled(self, task: asyncio.Task[None]) -> None:
        fault = Fault.CANCELLED if task.cancelled() else fault_of(exc) if (exc := task.exception()) else None
        if self._transport is None:
            self.gone(fault)

    # --- called by the loop ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._attach(self._transport)
        if self.stage is not Stage.OPENING:
            self._transport.abort()
            return
        self.ready()
        if self._welcome is not None:
            self._owner.admit(self, self._peer)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self.got(bytes(self._view[:nbytes]))

    def eof_received(self) -> bool:
        self.ended()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self._settle()  # closed after the last byte
        self.gone(fault_of(exc) if exc else None)

    # --- called by the line ------------------------------------------------------------------------------------------

    def _end_output(self) -> None:
        if self._transport is not None:
            try:
                self._transport.write_eof()
            except OSError:
                pass  # the peer is gone; connection_lost says so

    def _shut(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        elif self._dialling is not None:
            self._dialling.cancel()

    def _hold(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _go_on(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()


class ProcessLine(_Outlet, asyncio.SubprocessProtocol):
    """A process: its input is what is sent, its output, both kinds merged, what is received."""

    def __init__(self, drive: Drive, conn: ConnId) -> None:
        super().__init__(drive, conn)
        self._process: asyncio.SubprocessTransport | None = None
        self._spawning: asyncio.Task[None] | None = None
        self._input_closed = False

    def spawn(self, argv: Sequence[str]) -> None:
        """Start the program."""
        self._spawning = self._loop.create_task(self._spawn(argv), name=f"patter spawn {argv[0]}")
        self._spawning.add_done_callback(self._spawned)

    async def _spawn(self, argv: Sequence[str]) -> None:
        pipe, merged = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
        # A session of its own: Ctrl-C at our terminal is for us, who end it when nothing needs it any more.
        await self._loop.subprocess_exec(
            lambda: self, *argv, stdin=pipe, stdout=pipe, stderr=merged, start_new_session=True
        )

    def _spawned(self, task: asyncio.Task[None]) -> None:
        fault = Fault.CANCELLED if task.cancelled() else fault_of(exc) if (exc := task.exception()) else None
        if self._process is None:
            self.gone(fault)

    # --- called by the loop ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = cast(asyncio.SubprocessTransport, transport)
        self._attach(cast(asyncio.WriteTransport, self._process.get_pipe_transport(0)))
        if self.stage is Stage.OPENING:
            self.ready()
        else:
            self._process.close()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.got(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 0:
            self._input_closed = True
            if self.stage is Stage.CLOSING:
                self._terminate()

    def connection_lost(self, exc: Exception | None) -> None:
        process = self._process
        if process is not None:
            process.close()
        self.gone(None, process.get_returncode() if process is not None else None)

    # --- called by the line ------------------------------------------------------------------------------------------

    def _end_output(self) -> None:
        if self._pipe is not None:
            self._pipe.close()

    def _shut(self) -> None:
        if self._input_closed or self._pipe is None:
            self._terminate()
        else:
            self._pipe.close()  # flushes; pipe_connection_lost goes on

    def _terminate(self) -> None:
        if self._process is not None:
            try:
                self._process.terminate()
            except ProcessLookupError:
                pass  # it ended by itself

    def _drop(self) -> None:
        if self._process is not None:
            self._process.close()  # kills
        elif self._spawning is not None:
            self._spawning.cancel()

    def _hold(self) -> None:
        if (output := self._output()) is not None:
            output.pause_reading()

    def _go_on(self) -> None:
        if (output := self._output()) is not None:
            output.resume_reading()

    def _output(self) -> asyncio.ReadTransport | None:
        return cast("asyncio.ReadTransport | None", self._process.get_pipe_transport(1)) if self._process else None


async def _look_up(threads: Threads, host: str, port: int) -> list[Address]:
    """Ask the resolver, in a thread of ours: the loop's own would be waited for at exit, however long it takes."""
    answer: Future[list[Address]] = Future()

    def ask() -> None:
        if answer.set_running_or_notify_cancel():
            try:
                answer.set_result(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
            except Exception as exc:
                answer.set_exception(exc)

    seat = threads.submit(ask)
    try:
        return await asyncio.wrap_future(answer)
    finally:
        seat.give_up()


async def _reach(rows: Sequence[Address]) -> socket.socket:
    """The first address that answers, each tried a little after the one before it.

    ``loop.create_connection`` does the same, but folds two failures into one ``OSError`` without a cause.
    """
    loop = asyncio.get_running_loop()
    knocks: list[asyncio.Task[socket.socket]] = []
    waiting: set[asyncio.Task[socket.socket]] = set()
    rest = deque(rows)
    try:
        while rest or waiting:
            if rest:
                knocks.append(loop.create_task(_knock(rest.popleft())))
                waiting.add(knocks[-1])
            done, waiting = await asyncio.wait(
                waiting, timeout=STAGGER_S if rest else None, return_when=asyncio.FIRST_COMPLETED
            )
            for knock in done:
                if knock.exception() is None:
                    knocks.remove(knock)
                    return knock.result()
        raise OSError("no address answered") from knocks[0].exception() if knocks else None
    finally:
        for knock in knocks:
            knock.cancel()
            knock.add_done_callback(_hush)


async def _knock(row: Address) -> socket.socket:
    family, kind, proto, _, address = row
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _hush(knock: asyncio.Task[socket.socket]) -> None:
    """Close the socket of a knock nobody waits for any more."""
    if not knock.cancelled() and knock.exception() is None:
        knock.result().close()
