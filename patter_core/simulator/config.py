"""How the simulated carrier is set up: which carrier it plays, where the server is, who calls and is called."""

from __future__ import annotations

import msgspec

from ..audio.formats import PCMU_8K, AudioFormat
from ..carriers.telnyx import signature as telnyx_signature
from .callee import Callee, Misbehaviour, RestTrouble
from .script import Act

__all__ = ["CallPlan", "SimulatorConfig"]


class CallPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One call to place. ``at_ms`` from the start; ``most_ms`` is when the caller loses patience and hangs up, and
    ``ring_ms`` when they do so before anybody answered. ``line`` is the codec of the caller's network."""

    acts: tuple[Act, ...]
    caller: str = "+15550100001"
    callee: str = "+15550001234"
    at_ms: int = 0
    most_ms: int = 120_000
    call_sid: str = ""
    ring_ms: int = 60_000
    line: AudioFormat = PCMU_8K


class SimulatorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is and which account calls it.

    ``webhook_url`` is the public voice URL, which is what is signed; ``connect_to`` (host, port) is where it really is.
    ``rate`` above 1 plays faster than real time. ``record`` keeps the audio of both sides. ``probe`` measures the echo
    delay of marked frames: only with an echoing server, in mu-law.

    ``carrier`` is ``twilio`` (signing with ``auth_token``) or ``telnyx`` (signing with the key made of
    ``signing_seed``; the server is given ``public_key``). ``epoch`` is the unix time, in microseconds, of the board's
    beginning: a server that checks how old a signature is wants it to be right. ``callees`` says what becomes of a
    number that is dialled; ``dials`` is how many calls that the server orders are waited for before leaving.
    ``status_url`` gets the status reports of incoming calls (Twilio). ``numbers`` are the account's own.
    """

    webhook_url: str
    account_sid: str = "AC" + "0" * 31 + "1"
    auth_token: str = "simulated"
    connect_to: tuple[str, int] | None = None
    tls: bool | None = None
    rate: float = 1.0
    record: bool = True
    probe: bool = False
    sign_upgrade: bool = True
    leave_when_done: bool = True
    epoch: int = 1_700_000_000_000_000

    carrier: str = "twilio"
    connection_id: str = "1684641123236054244"
    signing_seed: bytes = b"patter's simulated carrier: seed"
    callees: dict[str, Callee] = {}
    callee: Callee = Callee()
    dials: int = 0
    status_url: str = ""
    numbers: tuple[str, ...] = ("+15550001234",)
    hook_url: str = ""
    hook_ruled_by: str = ""
    application_name: str = "patter"
    base_url: str = "https://carrier.example"
    misbehaves: frozenset[Misbehaviour] = frozenset()
    late_stop_ms: int = 3_000
    rest_trouble: tuple[RestTrouble, ...] = ()

    def __post_init__(self) -> None:
        if len(self.signing_seed) != 32:
            raise ValueError("signing_seed is 32 bytes")

    @property
    def public_key(self) -> str:
        """What the server verifies Telnyx's webhooks with."""
        return telnyx_signature.public_key(self.signing_seed)
