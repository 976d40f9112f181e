"""The way to the service: one session at a time, a successor before it expires, a new one when it is lost.

The life of a session::

    DIALLING --LinkOpened--> GREETING --session.created--> TELLING --session.updated--> READY
        ^                                                                                 |
        +------------- a new one, told what was said, when this one is lost --------------+

What a session is told, and what of the conversation is left undone when one ends, is its owner's business.
"""

from __future__ import annotations

import enum
from typing import Protocol

from ...audio.formats import AudioFormat
from ...call.words import CloseLink, LinkClosed, OpenLink, SayOnLink
from ...settings import us
from ...timers import Timers, later
from ..engine import EngineOrder, ProviderWarned, Switched
from .events import Failure
from .options import PROVIDER, OpenAIRealtimeSpec
from .session import Session, Stage
from .wire import Wire, headers, target

__all__ = ["FATAL", "Lifeline", "Owner"]

_OPEN_S = 6.0
"""To an open WebSocket: name, TCP, TLS and upgrade take well under one."""
_GREETING_S = 5.0
"""From there to ``session.created``, which comes at once."""
_TELLING_S = 4.0
"""From ``session.update`` to its answer. The service is then taken at its word that it has listened."""
_RETRIES_S = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Waits before each new try for a session."""
_LOST_S = 15.0
"""All tries together: nobody stays on a silent line for longer."""
_STALLS = 2
"""Times in a row that an open connection may fall silent."""
_STABLE_S = 30.0
"""A session that lived so long was a good one: the tries count from the beginning."""
_LIFETIME_S = 3600.0
"""Of a session, where ``expires_at`` tells nothing: the service's documented maximum."""
_LONGEST_S = 24 * 3600.0
"""And more than this it cannot be."""
_ROLL_S = 120.0
"""So long before a session expires, a new one is made at the next quiet moment."""
_FORCE_S = 10.0
"""And so long before, at any moment."""
_LOOK_S = 1.0
"""Between looks for that moment."""

FATAL = {
    "invalid_api_key": "the key is wrong: check OPENAI_API_KEY",
    "invalid_model": "the model is not known: check OpenAIRealtime(model=...)",
    "model_not_found": "the model is not known, or not to this key: check OpenAIRealtime(model=...)",
    "insufficient_quota": "the account has no credit left: see the provider's billing page",
    "billing_hard_limit_reached": "the account has no credit left: see the provider's billing page",
    "account_deactivated": "the account is closed",
    "beta_api_shape_disabled": "the service no longer speaks the beta protocol: leave protocol= out",
}
"""Codes of errors that no repetition helps with, and what to do."""
_REFUSED = {
    400: "the request was refused: check OpenAIRealtime(model=..., base_url=...)",
    401: "the key is wrong or missing: check OPENAI_API_KEY",
    403: "the key may not use this model, or not from here: check OPENAI_API_KEY and the project's permissions",
    404: "there is nothing at this address, or no such model: check OpenAIRealtime(model=..., base_url=...)",
}
"""Refusals of the WebSocket that no repetition helps with."""


class Owner(Protocol):
    """Whose lifeline it is."""

    def leave(self, now: int, out: list[EngineOrder]) -> None:
        """The session hears and says nothing more."""
        ...

    def take_over(self, now: int, session: Session, out: list[EngineOrder]) -> None:
        """This session is the one from now on."""
        ...

    def refreshed(self, session: Session, out: list[EngineOrder]) -> None:
        """It now knows of the change."""
        ...

    def quiet(self, now: int) -> bool:
        """Would nobody notice?"""
        ...

    def give_up(self, detail: str, out: list[EngineOrder]) -> None: ...

    def warn(self, code: str, detail: str, out: list[EngineOrder]) -> None: ...

    def name(self) -> str:
        """For a link."""
        ...


class _Timer(enum.Enum):
    SESSION = "session"  # it does not get ready
    NEXT = "next"  # nor does its successor
    RETRY = "retry"
    ROLL = "roll"
    FORCE = "force"


class Lifeline:
    """One call's. ``epoch`` is the wall time of its clock at 0, in microseconds; 0: unknown."""

    def __init__(self, owner: Owner, spec: OpenAIRealtimeSpec, wire: Wire, format: AudioFormat, epoch: int) -> None:
        self._owner = owner
        self._spec = spec
        self._wire = wire
        self._epoch = epoch
        self.format = format
        self.session: Session | None = None
        self.begun = False  # somebody waits for it
        self._next: Session | None = None  # takes over when it is ready and nobody speaks
        self._timers: Timers[_Timer] = Timers()
        self._tries = 0
        self._stalls = 0
        self._lost_why = ""
        self._lost_at = -1  # since when there is no session that works
        self._rolling = self._forced = False

    @property
    def deadline(self) -> int | None:
        """When to ``tick``."""
        return self._timers.deadline

    @property
    def ready(self) -> bool:
        """Is there a session to speak to?"""
        return self.session is not None and self.session.stage is Stage.READY

    def send(self, text: str, out: list[EngineOrder]) -> bool:
        """An item or a request for the session; False when there is none that could take it."""
        session = self.session
        if session is None or not session.usable:
            return False
        out.append(SayOnLink(session.name, text))
        return True

    def find(self, name: str) -> Session | None:
        """The session of this link."""
        return next((one for one in (self.session, self._next) if one is not None and one.name == name), None)

    def worked(self) -> None:
        """The service did something useful: whatever was wrong before is over."""
        self._tries = self._stalls = 0

    def stop(self, out: list[EngineOrder]) -> None:
        """Let go of everything."""
        out.extend(CloseLink(one.name) for one in (self.session, self._next) if one is not None)
        self.session = self._next = None
        self._timers = Timers()

    def tick(self, now: int, out: list[EngineOrder]) -> None:
        """Do what is due."""
        while (timer := self._timers.due(now)) is not None:
            match timer:
                case _Timer.SESSION:
                    self._not_ready(now, self.session, out)
                case _Timer.NEXT:
                    self._not_ready(now, self._next, out)
                case _Timer.RETRY:
                    self.dial(now, out)
                case _Timer.ROLL:
                    self._rolling = True
                case _Timer.FORCE:
                    self._rolling = self._forced = True

    # --- getting ready -----------------------------------------------------------------------------------------------

    def dial(self, now: int, out: list[EngineOrder]) -> None:
        """See to it that there is a session."""
        if self.session is None and self._timers.when(_Timer.RETRY) is None:
            self.session = self._open(now, _Timer.SESSION, out)

    def _open(self, now: int, timer: _Timer, out: list[EngineOrder]) -> Session:
        session = Session(self._owner.name())
        self._timers.set(timer, later(now, _OPEN_S))
        out.append(OpenLink(session.name, target(self._spec), headers(self._spec), self._spec.auth))
        return session

    def _patience(self, session: Session) -> _Timer:
        return _Timer.NEXT if session is self._next else _Timer.SESSION

    def opened(self, now: int, name: str) -> None:
        """A link is open."""
        session = self.find(name)
        if session is not None and session.stage is Stage.DIALLING:
            session.stage = Stage.GREETING
            self._timers.set(self._patience(session), later(now, _GREETING_S))

    def created(self, now: int, session: Session, expires_at: int, out: list[EngineOrder]) -> None:
        """The service greets: tell it how the session is to be."""
        if session.stage is not Stage.GREETING:
            return
        lifetime = expires_at * 1_000_000 - self._epoch - now if self._epoch and expires_at else 0
        if not us(_FORCE_S) < lifetime <= us(_LONGEST_S):
            lifetime = us(_LIFETIME_S)
        session.expires = now + lifetime
        self._tell(now, session, self._wire.session_update(self.format), out)

    def refresh(self, now: int, format: AudioFormat, out: list[EngineOrder]) -> None:
        """Have the session go on in another audio format."""
        session = self.session
        assert session is not None
        self.format = format
        session.refresh = True
        session.forget_audio()
        self._tell(now, session, self._wire.format_update(format), out)

    def _tell(self, now: int, session: Session, update: str, out: list[EngineOrder]) -> None:
        session.stage = Stage.TELLING
        self._timers.set(self._patience(session), later(now, _TELLING_S))
        out.append(SayOnLink(session.name, update))

    def updated(self, now: int, session: Session, out: list[EngineOrder]) -> None:
        """The service has listened."""
        if session.stage is not Stage.TELLING:
            return
        session.stage = Stage.READY
        self._timers.clear(self._patience(session))
        if session is self._next:
            return  # ``go_on`` finds the moment
        if session.refresh:
            session.refresh = False
            self._owner.refreshed(session, out)
            return
        if self._lost_why:
            out.append(Switched("engine", PROVIDER, f"a new session: {self._lost_why}"))
            self._lost_why = ""
        self._take_over(now, session, out)

    def _take_over(self, now: int, session: Session, out: list[EngineOrder]) -> None:
        session.ready_at = now
        self._lost_at = -1
        left = max(us(_FORCE_S), session.expires - now)
        self._timers.set(_Timer.ROLL, now + left - min(us(_ROLL_S), left // 4))
        self._timers.set(_Timer.FORCE, now + left - min(us(_FORCE_S), left // 10))
        self._rolling = self._forced = False
        self._owner.take_over(now, session, out)

    # --- trouble -----------------------------------------------------------------------------------------------------

    def closed(self, now: int, fact: LinkClosed, out: list[EngineOrder]) -> None:
        """A link is over."""
        session = self.find(fact.name)
        if session is None:
            return
        if fact.status:
            said = "" if fact.status == 401 else fact.reason[:500]  # some quote the key
            why = f"the connection was refused with {fact.status}{': ' if said else ''}{said}"
        elif fact.fault is not None:
            why = f"the service could not be reached ({fact.fault.value})"
        else:
            why = f"the connection was closed with {fact.code} {fact.reason[:200]}".rstrip()
        advice = ""
        if not fact.status or 400 <= fact.status < 500:
            advice = next((FATAL[code] for code in FATAL if code in fact.reason), "") or _REFUSED.get(fact.status, "")
        self._gone(now, session, f"{why} ({advice})" if advice else why, bool(advice), out)

    def fail(self, now: int, session: Session, why: str, for_good: bool, out: list[EngineOrder]) -> None:
        """The session is of no use any more."""
        out.append(CloseLink(session.name))
        self._gone(now, session, why, for_good, out)

    def stalled(self, now: int, why: str, out: list[EngineOrder]) -> None:
        """The connection is open and nothing comes: that is not one to wait on."""
        session = self.session
        if session is None:
            return
        session.ready_at = now  # it was no good one
        self._stalls += 1
        for_good = self._stalls > _STALLS
        self.fail(now, session, f"{why} in time, {self._stalls} times in a row", for_good, out)

    def update_refused(self, now: int, session: Session, failure: Failure, out: list[EngineOrder]) -> None:
        """It does not like what it was told."""
        if session.refresh:  # it was good before
            self._owner.warn("session_update_refused", failure.detail, out)
            self.updated(now, session, out)
            return
        field = failure.param or "no field named"
        advice = "check the options of OpenAIRealtime, the tools' schemas and the model"
        self.fail(now, session, f"the session's settings were refused: {failure.detail} ({field}; {advice})", True, out)

    def _not_ready(self, now: int, session: Session | None, out: list[EngineOrder]) -> None:
        """It takes too long."""
        if session is None or session.ready:
            return
        if session.stage is Stage.TELLING:
            detail = f"no answer to session.update in {_TELLING_S:g} s; going on"
            self._owner.warn("session_update_unanswered", detail, out)
            self.updated(now, session, out)
            return
        what = "open" if session.stage is Stage.DIALLING else "begin a session on"
        self.fail(now, session, f"the connection took too long to {what}", False, out)

    def _gone(self, now: int, session: Session, why: str, for_good: bool, out: list[EngineOrder]) -> None:
        """A session is no more (its link is closed already)."""
        if session is self._next:
            self._next = None
            self._timers.clear(_Timer.NEXT)
            self._owner.warn("roll_over_failed", why, out)
            self._timers.set(_Timer.ROLL, later(now, 2 * _LOOK_S))
            self._rolling = False
            return
        if not (for_good and self.begun):
            self._owner.leave(now, out)
        self.session = None
        for timer in (_Timer.SESSION, _Timer.ROLL, _Timer.FORCE):
            self._timers.clear(timer)
        self._rolling = self._forced = False
        if not self.begun:
            self._owner.warn("warm_up_failed", why, out)
        elif for_good:
            self._owner.give_up(why, out)
        else:
            self._replace(now, session, why, out)

    def _replace(self, now: int, lost: Session, why: str, out: list[EngineOrder]) -> None:
        self._lost_why = why
        if lost.ready_at >= 0 and now - lost.ready_at > us(_STABLE_S):
            self._tries = 0
        if self._next is not None:
            self.session, self._next = self._next, None
            patience = self._timers.when(_Timer.NEXT)
            self._timers.clear(_Timer.NEXT)
            if self.session.ready:
                self._take_over(now, self.session, out)
            elif patience is not None:
                self._timers.set(_Timer.SESSION, patience)
            return
        if self._lost_at < 0:
            self._lost_at = now
        if self._tries >= len(_RETRIES_S) or now - self._lost_at > us(_LOST_S):
            self._owner.give_up(f"{why}; {self._tries} further tries failed", out)
            return
        out.append(ProviderWarned(PROVIDER, "link_lost", why))
        self._timers.set(_Timer.RETRY, later(now, _RETRIES_S[self._tries]))
        self._tries += 1

    # --- before it expires -------------------------------------------------------------------------------------------

    def go_on(self, now: int, out: list[EngineOrder]) -> None:
        """The session expires soon: have a successor take over when nobody notices."""
        if not self._rolling or not self.ready:
            return
        if self._forced or self._owner.quiet(now):
            if self._next is None:
                self._next = self._open(now, _Timer.NEXT, out)
            elif self._next.ready:
                old, new = self.session, self._next
                assert old is not None
                self._owner.leave(now, out)
                self.session, self._next = new, None
                out.append(CloseLink(old.name))
                out.append(Switched("engine", PROVIDER, "a new session: the old one was about to expire"))
                self._take_over(now, new, out)
                return
        self._timers.set(_Timer.ROLL, later(now, _LOOK_S))
