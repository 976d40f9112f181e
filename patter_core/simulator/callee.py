"""Who is called: what a dialled number does, what the dial itself is answered, and how the carrier misbehaves."""

from __future__ import annotations

import enum

import msgspec

from .script import Act, Speak

__all__ = ["BEEP", "GREETING", "Callee", "Does", "Misbehaviour", "RestTrouble"]

GREETING = bytes([0x1E, 0x9E, 0x2A, 0xAA]) * 40
"""20 ms of something audible, mu-law: what a machine's greeting is made of."""
BEEP = bytes([0x10, 0x10, 0x10, 0x10, 0x90, 0x90, 0x90, 0x90]) * 20
"""20 ms of a 1 kHz square wave, mu-law."""


class Does(enum.Enum):
    """What becomes of a call to a number."""

    HUMAN = "human"
    MACHINE = "machine"
    FAX = "fax"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    REJECTED = "rejected"
    FAILED = "failed"

    @property
    def answers(self) -> bool:
        """Something picks up."""
        return self in (Does.HUMAN, Does.MACHINE, Does.FAX)


class RestTrouble(msgspec.Struct, frozen=True, kw_only=True):
    """A REST request that goes wrong: the next ``times`` (-1: all) that are an ``on`` (an order's class name; '': any).

    ``status`` 0 never answers. ``code`` is the carrier's error code, '' for the usual one of that status.
    ``done_anyway``: the order is carried out all the same, only the answer is bad or lost.
    """

    status: int
    times: int = 1
    on: str = ""
    code: str = ""
    retry_after_s: int | None = None
    done_anyway: bool = False


class Callee(msgspec.Struct, frozen=True, kw_only=True):
    """What one number does when it is called.

    It rings for ``ring_ms``, then does what it ``does`` (``NO_ANSWER`` rings until the dialler's timeout). Somebody who
    answers plays ``acts``; a machine plays ``greeting_ms`` of greeting and a ``beep`` first. ``verdict_ms`` after the
    answer machine detection knows, if it was asked for. As the other side of a transfer they hang up after ``talk_ms``.
    """

    does: Does = Does.HUMAN
    acts: tuple[Act, ...] = ()
    ring_ms: int = 2_000
    verdict_ms: int = 1_500
    greeting_ms: int = 5_000
    beep: bool = True
    talk_ms: int = 10_000
    most_ms: int = 120_000
    trouble: RestTrouble | None = None

    @property
    def script(self) -> tuple[Act, ...]:
        """Everything they do from the answer on."""
        if self.does is not Does.MACHINE:
            return self.acts
        greeting: list[Act] = [Speak(GREETING * (self.greeting_ms // 20))]
        if self.beep:
            greeting.append(Speak(BEEP * 20))
        return (*greeting, *self.acts)

    @property
    def greeting_over_ms(self) -> int:
        """When a machine starts to listen, after the answer."""
        return self.greeting_ms // 20 * 20 + (400 if self.beep else 0)


class Misbehaviour(enum.Enum):
    """What carriers do on bad days."""

    DUPLICATE_WEBHOOKS = "duplicate_webhooks"  #: every webhook comes twice, under the same id
    REORDERED_REPORTS = "reordered_reports"  #: every other report comes after the one that follows it
    LATE_STOP = "late_stop"  #: the stream goes on for ``late_stop_ms`` after the call ended
    NO_STOP = "no_stop"  #: it is neither stopped nor closed
    TWO_STREAMS = "two_streams"  #: the stream is opened twice
    SWAPPED_MEDIA = "swapped_media"  #: every tenth frame comes after the next one
    DOUBLED_MEDIA = "doubled_media"  #: every tenth frame comes twice
    LOST_MARKS = "lost_marks"  #: no mark comes back
    UNTOLD_HANGUP = "untold_hangup"  #: the end of a call is never reported
