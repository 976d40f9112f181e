"""A reply of the service's and what is spoken in it; and what we ask replies for."""

from __future__ import annotations

import enum
from collections import deque

from ..guards import Watch
from ..sentences import Sentences
from .memory import Entry

__all__ = ["Ask", "Asks", "Purpose", "Reply", "SpokenItem"]


class Purpose(enum.Enum):
    """Why a reply is asked for."""

    SAY = "say"  # a given text
    ANSWER = "answer"  # to keys, or to what tools gave
    TURN = "turn"  # to the caller's turn, which the service itself did not answer
    GO_ON = "go_on"  # with a reply that broke off


class Ask:
    """A reply we ask for. ``apology``: nothing else worked."""

    __slots__ = ("apology", "item", "mark", "moot", "not_before", "purpose", "text", "tries")

    def __init__(self, purpose: Purpose, item: str = "", text: str = "", apology: bool = False) -> None:
        self.purpose = purpose
        self.item = item
        self.text = text  # to be said
        self.apology = apology
        self.mark = ""  # how its response is known
        self.tries = 0
        self.not_before = 0
        self.moot = False  # it was interrupted before it began


class Asks:
    """Those that wait, oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[Ask] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, ask: Ask) -> None:
        """One reply answers everything there is to answer; every text is said."""
        if ask.purpose is Purpose.SAY or not any(one.purpose is not Purpose.SAY for one in self._waiting):
            self._waiting.append(ask)

    def again(self, ask: Ask) -> None:
        """Before all others."""
        ask.mark = ""
        self._waiting.appendleft(ask)

    def first(self, speaking: bool) -> Ask | None:
        """The next one to send. While the caller is ``speaking``, or was and the service is about to answer, only what
        is to be said: the rest will be answered with what the caller is saying."""
        return next((one for one in self._waiting if one.purpose is Purpose.SAY or not speaking), None)

    def remove(self, ask: Ask) -> None:
        """It is sent."""
        self._waiting.remove(ask)

    def drop(self, *purposes: Purpose) -> None:
        """These need no answer any more; of none, nothing does."""
        self._waiting = deque(one for one in self._waiting if purposes and one.purpose not in purposes)

    @property
    def characters(self) -> int:
        """Waiting to be said."""
        return sum(len(one.text) for one in self._waiting)


class SpokenItem:
    """One stretch of speech. ``name`` is ours, ``item`` the service's, in ``session``."""

    __slots__ = (
        "audio_us",
        "blocked",
        "ended",
        "entry",
        "half",
        "item",
        "name",
        "reply",
        "sentences",
        "session",
        "settled",
        "text",
        "until",
        "watch",
    )

    def __init__(self, name: str, item: str, session: str, reply: Reply) -> None:
        self.name = name
        self.item = item
        self.session = session
        self.reply = reply
        self.audio_us = 0
        self.until = 0  # its audio lasts till then, played at once
        self.half = b""  # of a sample
        self.text = ""
        self.ended = False  # all of it has come
        self.settled = False  # how much of it was heard is known
        self.blocked = False  # by a guardrail
        self.watch: Watch | None = None
        self.sentences: Sentences | None = None
        self.entry: Entry | None = None


class Reply:
    """One response of the service's."""

    __slots__ = ("ask", "calls", "cancelled", "id", "items", "last", "name", "silenced", "spoke")

    def __init__(self, id: str, ask: Ask | None, now: int) -> None:
        self.id = id
        self.ask = ask  # None: the service's own idea
        self.items: dict[str, SpokenItem] = {}  # by the service's name
        self.name = ""  # of its first item
        self.calls = 0
        self.cancelled = False  # we told the service to stop
        self.silenced = False  # nothing more of it is to be heard
        self.spoke = False
        self.last = now  # when something of it came
