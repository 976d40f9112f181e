"""The one HTTP client of a drive."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from http.cookiejar import DefaultCookiePolicy

import httpx

__all__ = ["Body", "HeaderList", "headers_of", "new_client"]

HeaderList = tuple[tuple[str, str], ...]


def new_client(tls: ssl.SSLContext, *, trust_env: bool) -> httpx.AsyncClient:
    """A client that decides nothing: no timeout, no redirect, no cookie, no cap: the core bounds."""
    client = httpx.AsyncClient(
        verify=tls,
        timeout=None,
        follow_redirects=False,
        trust_env=trust_env,
        limits=httpx.Limits(max_connections=None),
        headers={"accept-encoding": "identity"},  # a compressed event stream comes late, a bomb comes large
    )
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # one call's answer must not steer another's
    return client


def headers_of(given: Iterable[tuple[str, str]], authorization: str | None, body: bytes) -> list[tuple[str, str]]:
    """An order's headers, the secret one, and its body's length (or it would be sent in chunks)."""
    headers = list(given)
    if authorization:
        headers.append(("Authorization", authorization))
    if body:
        headers.append(("Content-Length", str(len(body))))
    return headers


class _Once:
    """One piece, then no more."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> _Once:
        return self

    async def __anext__(self) -> bytes:
        data, self._data = self._data, b""
        if not data:
            raise StopAsyncIteration
        return data


class Body(httpx.AsyncByteStream):
    """A request's body. httpx would read one from a generator, and a request that is cut off leaves that half-way: trio
    warns about it wherever it is collected. A plain iterator leaves nothing behind."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> _Once:
        return _Once(self._data)
