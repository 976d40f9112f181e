"""The way to a conversation's WebSocket: its URL, which may have to be asked for, and one link at a time."""

from __future__ import annotations

from typing import TypeAlias

from ...call.words import CloseLink, Drop, LinkClosed, LinkOpened, OpenLink, Run, TaskRaised, TaskReturned
from ...settings import us
from .options import ElevenLabsConvAISpec
from .wire import Error, Trouble, conversation_url, trouble

__all__ = ["Dialler"]

_TRY_S = 5.0  # from dialling to the conversation's metadata; it takes well under a second
_URL = 4096  # characters of a signed URL; one has about 200

Orders: TypeAlias = list[Run | Drop | OpenLink | CloseLink]


class Dialler:
    """One call's. ``name`` is the link of now, '' when there is none; it can be spoken on once it is ``open``."""

    def __init__(self, spec: ElevenLabsConvAISpec, prefix: str) -> None:
        self._spec = spec
        self._prefix = prefix
        self._count = 0
        self._task = ""
        self.name = ""
        self.open = False
        self.error: Error | None = None  # the error event of this link
        self.overrides: list[str] = []  # what the conversation on it overrides
        self.deadline: int | None = None  # when this try has taken too long

    @property
    def busy(self) -> bool:
        """There is a link, or will be."""
        return bool(self.name or self._task)

    def dial(self, now: int) -> Orders:
        """Begin a try."""
        self.deadline = now + us(_TRY_S)
        handler = self._spec.signed_url
        if handler is None:
            return [self._link(self._spec.url or conversation_url(self._spec), self._spec.auth)]
        self._task = self._next()
        return [Run(self._task, handler.lane, handler.name, ())]

    def begun(self, now: int) -> None:
        """The conversation is asked for only now: its metadata has a try's time."""
        self.deadline = now + us(_TRY_S)

    def settled(self) -> None:
        """The try succeeded."""
        self.deadline = None

    def returned(self, fact: TaskReturned | TaskRaised) -> tuple[Orders, Trouble | None]:
        """The function that makes URLs is done."""
        if fact.name != self._task or not self._task:
            return [], None
        self._task = ""
        if isinstance(fact, TaskRaised):
            return [], Trouble(f"signed_url failed ({fact.fault.value}): {fact.detail[:200]}")
        url = fact.value
        if not isinstance(url, str) or not url.startswith(("wss://", "ws://")) or not url.isascii() or len(url) > _URL:
            return [], Trouble("signed_url must return a URL that begins with wss://", fatal=True)
        return [self._link(url, "")], None

    def opened(self, fact: LinkOpened) -> bool:
        """Is it this link that can be spoken on now?"""
        if fact.name != self.name or not self.name:
            return False
        self.open = True
        return True

    def closed(self, fact: LinkClosed) -> Trouble | None:
        """Why this link is gone; None when it was another."""
        if fact.name != self.name or not self.name:
            return None
        why = trouble(self._spec, fact.code, fact.reason, fact.status, fact.fault, self.error, self.overrides)
        self._forget()
        return why

    def drop(self, code: int = 1000) -> Orders:
        """Let go of everything."""
        out: Orders = []
        if self._task:
            out.append(Drop(self._task))
        if self.name:
            out.append(CloseLink(self.name, code))
        self._forget()
        return out

    def _link(self, url: str, auth: str) -> OpenLink:
        self.name = self._next()
        return OpenLink(self.name, url, auth=auth)

    def _next(self) -> str:
        self._count += 1
        return f"{self._prefix}convai:{self._count}"

    def _forget(self) -> None:
        self._task = self.name = ""
        self.open = False
        self.error = None
        self.overrides = []
        self.deadline = None
