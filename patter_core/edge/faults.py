"""Exceptions from the outside, turned into the closed list of faults that facts may carry."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

import httpx

from patter_core.contract import Fault

__all__ = ["explain", "fault_of"]

#: What the operating system says; the first match wins, so subclasses come before their bases.
_SYSTEM: tuple[tuple[type[BaseException], Fault], ...] = (
    (ssl.SSLError, Fault.TLS),
    (ConnectionRefusedError, Fault.REFUSED),
    (socket.gaierror, Fault.UNREACHABLE),
    (UnicodeError, Fault.UNREACHABLE),  # a host name that no resolver can be asked for
    (FileNotFoundError, Fault.UNREACHABLE),  # no such program, or no such socket file
    (TimeoutError, Fault.TIMEOUT),
    (ConnectionError, Fault.RESET),
)

_ERRNO = {
    errno.EHOSTUNREACH: Fault.UNREACHABLE,
    errno.ENETUNREACH: Fault.UNREACHABLE,
    errno.EADDRNOTAVAIL: Fault.UNREACHABLE,
    errno.EAFNOSUPPORT: Fault.UNREACHABLE,
    errno.ENETDOWN: Fault.UNREACHABLE,
}

#: What the HTTP library adds. Asked only when nothing underneath says it better.
_HTTP: tuple[tuple[type[BaseException], Fault], ...] = (
    (httpx.TimeoutException, Fault.TIMEOUT),
    (httpx.RemoteProtocolError, Fault.BAD_REPLY),
    (httpx.DecodingError, Fault.BAD_REPLY),
    (httpx.ConnectError, Fault.UNREACHABLE),
    (httpx.NetworkError, Fault.RESET),
)

_DETAIL = 500  #: characters of prose: enough for a log line, too few for a leaked body


def fault_of(exc: BaseException | None) -> Fault:
    """Why this happened. Looks through causes and groups, since every library wraps what the system said."""
    if exc is None:
        return Fault.CANCELLED
    chain = list(_chain(exc))
    for each in chain:
        for kind, fault in _SYSTEM:
            if isinstance(each, kind):
                return fault
        if isinstance(each, OSError) and each.errno in _ERRNO:
            return _ERRNO[each.errno]
    for each in chain:
        for kind, fault in _HTTP:
            if isinstance(each, kind):
                return fault
    return Fault.OTHER


def explain(exc: BaseException) -> str:
    """Prose about an exception, for ``Raised.detail``: always there, short, and fit for UTF-8."""
    try:
        text = f"{type(exc).__name__}: {exc}"
    except BaseException:  # user code again: its __str__ may do anything
        text = type(exc).__name__
    return text[:_DETAIL].encode("utf-8", "replace").decode()


def _chain(exc: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    queue: list[BaseException | None] = [exc]
    while queue:
        each = queue.pop(0)
        if each is None or any(each is known for known in seen):
            continue
        seen.append(each)
        yield each
        if isinstance(each, BaseExceptionGroup):
            queue.extend(each.exceptions)
        # Even a suppressed context: the HTTP library re-raises "from None" and so hides what the system said.
        queue.append(each.__cause__)
        queue.append(each.__context__)
