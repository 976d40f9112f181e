"""The one HTTP client of a drive."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from http.cookiejar import DefaultCookiePolicy

import httpx

__all__ = ["HeaderList", "headers_of", "new_client"]

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


def headers_of(given: Iterable[tuple[str, str]], authorization: str | None) -> list[tuple[str, str]]:
    """An order's headers, and the secret one."""
    return [*given, ("Authorization", authorization)] if authorization else list(given)
