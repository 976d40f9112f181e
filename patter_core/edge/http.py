"""The one HTTP client of a drive."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookiejar import DefaultCookiePolicy

import httpx

__all__ = ["HeaderList", "new_client", "streamed"]

HeaderList = list[tuple[str, str]]


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


class _Body(httpx.AsyncByteStream):
    """A request's body. httpx would read one from a generator, and a request that is cut off leaves that half-way: trio
    warns about it wherever it is collected. A plain iterator leaves nothing behind."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> _Once:
        return _Once(self._data)


@asynccontextmanager
async def streamed(
    client: httpx.AsyncClient, method: str, url: str, headers: HeaderList, body: bytes
) -> AsyncIterator[httpx.Response]:
    """Send a request and give its response as soon as its head is there."""
    request = client.build_request(method, url, headers=headers, content=body)
    if body:
        request.stream = _Body(body)
    response = await client.send(request, stream=True)
    try:
        yield response
    finally:
        await response.aclose()
