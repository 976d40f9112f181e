"""Where an ``on_message`` that is a URL goes, checked once.

The operator wrote the URL, so it may lead to this very machine or into a private network: that is where one's own
server runs. It may not lead to where clouds keep a machine's credentials, whoever wrote it, nor carry credentials
itself, which would end up in logs and traces.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from urllib.parse import SplitResult, urlsplit

import msgspec

from ...errors import ConfigError
from ..keys import Resolving

__all__ = ["RemoteLinkSpec", "RemoteSpec", "remote_spec"]

_EXAMPLE = 'such as "https://example.com/reply" or "ws://127.0.0.1:9000/reply"'
_METADATA_HOSTS = ("metadata", "metadata.google.internal", "metadata.goog", "instance-data")
#: Link-local: where AWS, Azure, Google, Oracle and DigitalOcean put it. Then AWS over IPv6, and Alibaba.
_METADATA = tuple(
    map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "192.0.0.192/32"))
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class RemoteSpec(msgspec.Struct, frozen=True, kw_only=True, tag="remote-http"):
    """POST each message to ``url``; ``sign`` names the secret that signs it."""

    url: str
    sign: str = ""


class RemoteLinkSpec(msgspec.Struct, frozen=True, kw_only=True, tag="remote-ws"):
    """One WebSocket to ``url`` for each call; ``auth`` names the header with which it is asked for."""

    url: str
    auth: str = ""


def remote_spec(url: str, secret: str, resolving: Resolving) -> RemoteSpec | RemoteLinkSpec:
    """The brain an ``on_message`` URL stands for.

    With a ``secret``, what is posted carries ``X-Patter-Signature``: the hex HMAC-SHA256 of the body. The upgrade to a
    WebSocket has no body; there it is the HMAC of the URL, as it was written.
    """
    if not isinstance(url, str):
        raise ConfigError(f"on_message must be a function or a URL {_EXAMPLE}, got {type(url).__name__}")
    if not isinstance(secret, str):
        raise ConfigError(f"the secret of an on_message URL must be a text, got {type(secret).__name__}")
    url = url.strip()
    parts = _check(url)
    if parts.scheme in ("http", "https"):
        return RemoteSpec(url=url, sign=resolving.signing(secret))
    if not secret:
        return RemoteLinkSpec(url=url)
    proof = hmac.new(secret.encode(), url.encode(), hashlib.sha256).hexdigest()
    return RemoteLinkSpec(url=url, auth=resolving.secret("on_message", "X-Patter-Signature", proof))


def _check(url: str) -> SplitResult:
    shown = url.rpartition("@")[2][:200]  # what is before it may be a password
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"on_message {shown!r} has characters no URL has: percent-encode them")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"on_message {shown!r} is no URL ({error}); it must be {_EXAMPLE}") from None
    if parts.scheme not in ("http", "https", "ws", "wss"):
        raise ConfigError(f"on_message {shown!r} must begin with http://, https://, ws:// or wss://, {_EXAMPLE}")
    if "@" in parts.netloc:
        raise ConfigError(f"on_message ...@{shown!r} holds credentials, which would be logged: set a secret instead")
    if not parts.hostname or "\\" in url:
        raise ConfigError(f"on_message {shown!r} names no host; it must be {_EXAMPLE}")
    if parts.fragment:
        raise ConfigError(f"on_message {shown!r} has a part after #, which is never sent: leave it out")
    _check_host(parts.hostname.rstrip("."), shown)
    return parts


def _check_host(host: str, shown: str) -> None:
    if host in _METADATA_HOSTS:
        raise ConfigError(f"on_message {shown!r} is a cloud's metadata service, which holds its machine's credentials")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        last = host.rpartition(".")[2]
        if last.isdigit() or last.startswith(
            "0x"
        ):  # 0x7f.1, 2130706433: libraries read these as addresses, all differently
            raise ConfigError(f"on_message {shown!r}: write the address as four numbers, like 127.0.0.1") from None
        return
    for one in _meant(address):
        if any(one in network for network in _METADATA):
            raise ConfigError(f"on_message {shown!r} is where clouds keep their machines' credentials")
        if one.is_unspecified:
            raise ConfigError(f"on_message {shown!r} is no address to reach; for this machine write 127.0.0.1 or [::1]")
        if one.is_multicast or str(one) == "255.255.255.255":
            raise ConfigError(f"on_message {shown!r} is an address of many, not of a server")


def _meant(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """An address, and the IPv4 ones that are written inside it."""
    meant = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inside = [address.ipv4_mapped, address.sixtofour]
        if address in _NAT64:
            inside.append(ipaddress.IPv4Address(address.packed[-4:]))
        meant.extend(one for one in inside if one is not None)
    return meant
