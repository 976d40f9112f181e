"""The webhook URLs at the carriers, as a machine: look up, compare, set if different, put back on the way down.

Each *place* (a number at one carrier, a connection at another) goes its own way, bounded in time, repeated with
back-off while the carrier says "not now". What cannot be done is said loudly, with the URL to enter by hand, and stops
nothing: a URL that is right already must not keep a server down because the carrier's API is.

Putting back is for a URL that dies with this process (our own tunnel's). It is looked up once more first: what somebody
changed meanwhile is theirs.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from .carriers.carrier import CarrierSpec, HookPlace, RestOutcome, RestRequest
from .carriers.dialects import Dialect, dialect_of
from .contract import Fault
from .events import Event, WebhookChanged, WebhookFailed, WebhookKept, WebhookUntouched
from .settings import ServerSettings, us
from .timers import later

__all__ = ["Fetch", "Forget", "HookKeeper", "HookOrder", "Tell"]


class HookWord(msgspec.Struct, frozen=True, tag=True):
    """Base of a keeper's orders."""


class Fetch(HookWord, frozen=True, tag=True):
    """Make this request; tell its end with ``answered`` or ``failed``. One at a time for each ``place``."""

    place: int
    rest: RestRequest


class Forget(HookWord, frozen=True, tag=True):
    """Never mind the request of this place."""

    place: int


class Tell(HookWord, frozen=True, tag=True):
    """Tell whoever listens."""

    event: Event


HookOrder: TypeAlias = Fetch | Forget | Tell


class _Step(enum.Enum):
    RESTING = "resting"
    LOOKING = "looking"
    SETTING = "setting"


class _Place:
    """One webhook URL."""

    __slots__ = (
        "asking",
        "at",
        "dialect",
        "find",
        "known",
        "number",
        "original",
        "restoring",
        "send",
        "spec",
        "step",
        "target",
        "tries",
        "until",
        "was",
    )

    def __init__(self, spec: CarrierSpec, dialect: Dialect, number: str, find: RestRequest) -> None:
        self.spec = spec
        self.dialect = dialect
        self.number = number
        self.find = find
        self.step = _Step.RESTING
        self.send = find  # the request of this step
        self.asking = False  # it is on its way; else its repetition waits
        self.tries = 0
        self.at = 0  # when this try is over, or the next begins
        self.until = 0  # when the whole is
        self.target = ""
        self.restoring = False
        self.was = ""
        self.known: list[str] = []  # every URL we have set here
        self.original: HookPlace | None = None  # what was there before


class HookKeeper:
    """All places. Tell it what happens; carry out its orders; call ``tick`` at ``deadline``."""

    def __init__(
        self,
        carriers: Sequence[CarrierSpec],
        numbers: Sequence[str],
        settings: ServerSettings,
        dialects: Callable[[str], Dialect] = dialect_of,
    ) -> None:
        self._settings = settings
        self._places: list[_Place] = []
        self._nowhere: list[CarrierSpec] = []  # carriers with nothing to look up
        for spec in carriers:
            dialect = dialects(spec.name)
            found = 0
            for number in numbers or ("",):
                find = dialect.find_hook(spec, number)
                if find is None:
                    continue
                found += 1
                if all(place.spec is not spec or place.find != find for place in self._places):  # one for many numbers
                    self._places.append(_Place(spec, dialect, number, find))
            if not found:
                self._nowhere.append(spec)

    @property
    def busy(self) -> bool:
        """Something is being looked up or set."""
        return any(place.step is not _Step.RESTING for place in self._places)

    @property
    def deadline(self) -> int | None:
        """When to call ``tick``."""
        return min((place.at for place in self._places if place.step is not _Step.RESTING), default=None)

    # --- what is wanted ----------------------------------------------------------------------------------------------

    def keep(self, now: int, origin: str) -> list[HookOrder]:
        """Have calls reported to the server at this public origin. Whatever was under way gives way."""
        orders: list[HookOrder] = []
        for spec in self._nowhere:
            why = "no number and no connection to look up: give phone_number (or the carrier's connection id)"
            orders.append(Tell(WebhookUntouched(spec.name, "", f"{why}, or enter {origin}/webhooks/{spec.name}/voice")))
        for place in self._places:
            place.target = f"{origin}/webhooks/{place.spec.name}/{place.dialect.routes[0]}"
            place.restoring = False
            orders += self._begin(now, place, self._settings.hook_s)
        return orders

    def restore(self, now: int) -> list[HookOrder]:
        """Put back what was there, where what is there is still ours."""
        orders: list[HookOrder] = []
        for place in self._places:
            orders += self._rest(place)
            if place.original is not None:
                place.target = place.original.url
                place.restoring = True
                orders += self._begin(now, place, self._settings.hook_restore_s)
        return orders

    def abandon(self) -> list[HookOrder]:
        """Let go of everything."""
        return [order for place in self._places for order in self._rest(place)]

    # --- what happens ------------------------------------------------------------------------------------------------

    def answered(self, now: int, key: int, status: int, body: bytes) -> list[HookOrder]:
        """A request got its whole answer."""
        place = self._places[key]
        if not place.asking:
            return []
        place.asking = False
        outcome = place.dialect.outcome(status, body)
        if outcome is RestOutcome.RETRY:
            return self._again(now, place, f"HTTP {status}")
        if place.step is _Step.LOOKING:
            found = place.dialect.read_hook(status, body, place.number)
            return self._failed(place, found) if isinstance(found, str) else self._found(now, place, found)
        if outcome is RestOutcome.DONE:
            return self._set(place)
        return self._failed(place, place.dialect.problem(status, body) or f"HTTP {status}")

    def failed(self, now: int, key: int, fault: Fault) -> list[HookOrder]:
        """A request came to nothing."""
        place = self._places[key]
        if not place.asking:
            return []
        place.asking = False
        return self._again(now, place, fault.value)

    def tick(self, now: int) -> list[HookOrder]:
        """Its deadline has come."""
        orders: list[HookOrder] = []
        for key, place in enumerate(self._places):
            if place.step is _Step.RESTING or now < place.at:
                continue
            if place.asking:
                place.asking = False
                orders += [Forget(key), *self._again(now, place, "no answer in time")]
            else:
                orders += self._ask(now, place)
        return orders

    # --- one place ---------------------------------------------------------------------------------------------------

    def _begin(self, now: int, place: _Place, bound_s: float) -> list[HookOrder]:
        orders = self._rest(place)
        place.until = now + us(bound_s)
        return orders + self._step(now, place, _Step.LOOKING, place.find)

    def _step(self, now: int, place: _Place, step: _Step, send: RestRequest) -> list[HookOrder]:
        place.step = step
        place.send = send
        place.tries = 0
        return self._ask(now, place)

    def _ask(self, now: int, place: _Place) -> list[HookOrder]:
        place.asking = True
        place.at = max(now + 1, min(later(now, self._settings.hook_try_s), place.until))
        return [Fetch(self._places.index(place), place.send)]

    def _again(self, now: int, place: _Place, why: str) -> list[HookOrder]:
        wait = self._settings.hook_backoff_s * 2 ** min(place.tries, 10)
        place.tries += 1
        at = later(now, wait)
        if at >= place.until:
            return self._failed(place, f"{why}, {place.tries} times" if place.tries > 1 else why)
        place.at = at
        return []

    def _found(self, now: int, place: _Place, found: HookPlace) -> list[HookOrder]:
        name, number = place.spec.name, place.number
        if found.ruled_by:
            place.step = _Step.RESTING
            why = f"{found.ruled_by} is set there, so the carrier ignores this URL; have that lead to {place.target}"
            return [Tell(WebhookUntouched(name, number, why))]
        if place.restoring:
            place.step = _Step.RESTING
            if found.url == place.target:
                return []
            if found.url not in place.known:
                why = f"it was changed meanwhile, to {_shown(found.url)}: not put back"
                return [Tell(WebhookUntouched(name, number, why))]
            assert place.original is not None  # or it would not be restored
            place.was = found.url
            send = place.dialect.set_hook(place.spec, place.original, place.target)
            return self._step(now, place, _Step.SETTING, send)
        if found.url == place.target and found.method.upper() == "POST":
            place.step = _Step.RESTING
            return [Tell(WebhookKept(name, number, place.target))]
        if found.url not in place.known:
            place.original = found
        place.was = found.url
        if place.target not in place.known:
            place.known = [*place.known[-7:], place.target]
        wanted = msgspec.structs.replace(found, method="POST")
        return self._step(now, place, _Step.SETTING, place.dialect.set_hook(place.spec, wanted, place.target))

    def _set(self, place: _Place) -> list[HookOrder]:
        place.step = _Step.RESTING
        if place.restoring:
            place.original = None
        return [Tell(WebhookChanged(place.spec.name, place.number, _shown(place.was), _shown(place.target)))]

    def _failed(self, place: _Place, detail: str) -> list[HookOrder]:
        place.step = _Step.RESTING
        advice = f"it should be {_shown(place.target)}" if place.target else "it should be empty"
        return [Tell(WebhookFailed(place.spec.name, place.number, f"{detail} ({advice})"))]

    def _rest(self, place: _Place) -> list[HookOrder]:
        asking, place.asking = place.asking, False
        place.step = _Step.RESTING
        return [Forget(self._places.index(place))] if asking else []


_USER = re.compile(r"//[^/@\s]*@")


def _shown(url: str) -> str:
    """A URL for the log: somebody else's may hold a password, or a key in its query."""
    return _USER.sub("//***@", url.partition("?")[0] + ("?..." if "?" in url else ""))
