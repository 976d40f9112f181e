"""How bytes move on trio: sockets and processes as lines."""

from __future__ import annotations

import abc
import errno
import math
import socket
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

import trio

from patter_core.contract import Connect, ConnId
from patter_core.edge.faults import fault_of
from patter_core.edge.line import Line
from patter_core.edge.sockets import AcceptTrouble, Address, interleave, numeric, peer_name
from patter_core.edge.tls import Tls

from ._gate import Gate

if TYPE_CHECKING:
    from ._drive import Drive

__all__ = ["ProcessLine", "SocketLine", "listening"]

RECEIVE_SIZE = 65536  #: bytes asked for at a time
STAGGER_S = 0.25  #: RFC 8305's delay before the next address is tried too

_LOST = (trio.BrokenResourceError, trio.ClosedResourceError)

#: Bytes with the total to report, or what to do after all that went before.
_Item: TypeAlias = tuple[bytes, int | None] | Callable[[], Awaitable[None]]


async def listening(drive: Drive, listener: trio.socket.SocketType) -> None:
    """Accept connections until the listener is closed. Nothing a peer does ends it."""
    trouble = AcceptTrouble()
    while True:
        try:
            accepted, address = await listener.accept()
        except trio.ClosedResourceError:
            return  # StopListening
        except OSError as exc:
            if exc.errno == errno.EBADF:
                return  # StopListening, before we first got here
            await trio.sleep(trouble.met(exc, trio.current_time()))
            continue
        tls = Tls(drive.server_tls) if drive.server_tls is not None else None
        # The address came with the connection: asking for it now could fail, for the peer may be gone again.
        SocketLine(drive, drive.reserve(), tls, announced=True).accepted(accepted, peer_name(address))


class _Piped(Line):
    """Two tasks: one reads until the input ends, one writes what was queued."""

    def __init__(self, drive: Drive, conn: ConnId, tls: Tls | None = None, *, announced: bool = False) -> None:
        super().__init__(drive, conn, tls, announced=announced)
        self._owner = drive
        self._scope = trio.CancelScope()
        self._gate = Gate()
        self._waiting = 0  # items queued and not done with
        # Unbounded: the core counts what it sends.
        self._queue, self._queued = trio.open_memory_channel[_Item](math.inf)

    async def _read(self, stream: trio.abc.ReceiveStream) -> None:
        try:
            while data := await stream.receive_some(RECEIVE_SIZE):
                self.got(bytes(data))
                await self._gate.passed()
        except _LOST as exc:
            self._lost(exc)
        else:
            self.ended()

    async def _write(self, stream: trio.abc.SendStream) -> None:
        async for item in self._queued:
            try:
                if isinstance(item, tuple):
                    raw, total = item
                    if raw:
                        await stream.send_all(raw)
                    if total is not None:
                        self.left(total)
                else:
                    await item()
            except _LOST as exc:
                self._lost(exc)
            self._waiting -= 1

    @abc.abstractmethod
    def _lost(self, exc: Exception) -> None:
        """Reading or writing failed."""

    def _put(self, raw: bytes | str, total: int | None) -> None:
        rest = cast(bytes, raw)
        if rest and not self._waiting:
            rest = rest[self._send_now(rest) :]
        if rest or total is not None:
            self._later((rest, total))

    def _send_now(self, raw: bytes) -> int:
        """Send what can be sent without waiting; how much that was."""
        return 0

    def _later(self, item: _Item) -> None:
        self._waiting += 1
        self._queue.send_nowait(item)

    def _drop(self) -> None:
        self._scope.cancel()

    def _hold(self) -> None:
        self._gate.shut()

    def _go_on(self) -> None:
        self._gate.open()


class SocketLine(_Piped):
    """A TCP connection, dialled or accepted."""

    _stream: trio.SocketStream
    _direct: socket.socket | None = None

    def dial(self, order: Connect) -> None:
        """Start to connect."""
        self._owner.start(self._dial, order)

    def accepted(self, sock: trio.socket.SocketType, peer: str) -> None:
        """Start with a socket that ``accept`` gave."""
        self._stream = trio.SocketStream(sock)
        self._open()
        self._owner.start(self._carry)
        self._owner.admit(self, peer)

    async def _dial(self, order: Connect) -> None:
        with self._scope:
            try:
                if order.tls:
                    self._tls = Tls(self._owner.client_tls(), server_name=order.host)
                self._stream = await _reach(await _rows(order))
            except Exception as exc:
                self.gone(fault_of(exc))
                return
            await self._talk()
        self.gone()

    async def _carry(self) -> None:
        with self._scope:
            await self._talk()
        self.gone()

    async def _talk(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, self._stream)
                nursery.start_soon(self._write, self._stream)
                self._open()
        finally:
            if self._direct is not None:
                self._direct.detach()  # before its number is somebody else's
            self._stream.socket.close()

    def _open(self) -> None:
        # A second handle on the same descriptor: most frames fit into the kernel's buffer, and waking a task for each
        # costs more than sending it.
        if self._direct is None:
            sock = self._stream.socket
            self._direct = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.fileno())
        self.ready()

    def _send_now(self, raw: bytes) -> int:
        try:
            return self._direct.send(raw) if self._direct is not None else 0
        except OSError:
            return 0  # full, or broken: the writer waits for the one and reports the other

    def _lost(self, exc: Exception) -> None:
        self._fault = fault_of(exc)
        self._scope.cancel()

    def _end_output(self) -> None:
        self._later(self._send_eof)

    async def _send_eof(self) -> None:
        await self._stream.send_eof()

    def _shut(self) -> None:
        self._later(self._over)

    async def _over(self) -> None:
        self._scope.cancel()


class ProcessLine(_Piped):
    """A process: its input is what is sent, its output, both kinds merged, what is received."""

    _process: trio.Process | None = None

    def spawn(self, argv: Sequence[str]) -> None:
        """Start the program."""
        self._owner.start(self._spawn, argv)

    async def _spawn(self, argv: Sequence[str]) -> None:
        with self._scope:
            try:
                pipe, merged = subprocess.PIPE, subprocess.STDOUT
                # A session of its own: Ctrl-C at our terminal is for us, who end it when nothing needs it any more.
                process = await trio.lowlevel.open_process(
                    list(argv), stdin=pipe, stdout=pipe, stderr=merged, start_new_session=True
                )
            except Exception as exc:
                self.gone(fault_of(exc))
                return
            self._process = process
            await self._talk(process)
        self.gone(None, self._process.returncode if self._process is not None else None)

    async def _talk(self, process: trio.Process) -> None:
        output, stdin = process.stdout, process.stdin
        if output is None or stdin is None:
            raise AssertionError("both were asked for")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, stdin)
                self.ready()
                await self._read(output)
                await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()  # killed: this is short
                await stdin.aclose()
                await output.aclose()

    def ended(self) -> None:
        """The end of the output is no fact: ``Closed`` follows."""

    def _lost(self, exc: Exception) -> None:
        """It closed its input; its end is what counts."""

    def _end_output(self) -> None:
        self._later(self._close_input)

    async def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            await self._process.stdin.aclose()

    def _shut(self) -> None:
        self._later(self._terminate)

    async def _terminate(self) -> None:
        await self._close_input()
        if self._process is not None:
            self._process.terminate()


async def _rows(order: Connect) -> list[Address]:
    try:
        return numeric(order.addresses or (order.host,), order.port)
    except socket.gaierror:
        if order.addresses:
            raise
    return interleave(list(await trio.socket.getaddrinfo(order.host, order.port, type=socket.SOCK_STREAM)))


async def _reach(rows: Sequence[Address]) -> trio.SocketStream:
    """The first address that answers, each tried a little after the one before it.

    ``trio.open_tcp_stream`` does the same for names, but not for a list of addresses.
    """
    errors: list[OSError] = []
    won: list[trio.socket.SocketType] = []

    async def knock(row: Address, failed: trio.Event) -> None:
        family, kind, proto, _, address = row
        try:
            sock = trio.socket.socket(family, kind, proto)
            try:
                await sock.connect(address)
                if not won:
                    won.append(sock)
                    nursery.cancel_scope.cancel()
            finally:
                if sock not in won:
                    sock.close()
        except OSError as exc:
            errors.append(exc)
            failed.set()

    try:
        async with trio.open_nursery() as nursery:
            for row in rows:
                failed = trio.Event()
                nursery.start_soon(knock, row, failed)
                with trio.move_on_after(STAGGER_S):
                    await failed.wait()
    except BaseException:
        for sock in won:
            sock.close()
        raise
    if won:
        return trio.SocketStream(won[0])
    raise OSError("no address answered") from errors[0] if errors else None
