"""Who took a dialled call: a person or a machine, and when the agent may speak.

OFF                                             machine detection was not asked for
WAITING --human, unknown, callee's first words, time--> OPEN --machine--> MACHINE --greeting ended, time--> DONE
   \\----------------------------------machine---------------------------/
"""

from __future__ import annotations

import enum

from ..carriers.carrier import Answerer, MachineDetected
from ..settings import CallSettings
from ..timers import later

__all__ = ["Cue", "Screening", "Stage"]


_AGAIN_S = 0.2


class Stage(enum.Enum):
    """Where the screening is."""

    OFF = "off"
    WAITING = "waiting"
    OPEN = "open"
    MACHINE = "machine"
    DONE = "done"


class Cue(enum.Enum):
    """What the call does now."""

    TELL = "tell"  #: the verdict is in: tell whoever wants to know, once
    SPEAK_FIRST = "speak_first"  #: the first message may be said
    HUSH = "hush"  #: nobody is there to talk to: be quiet
    LEAVE_MESSAGE = "leave_message"  #: the machine listens now
    GIVE_UP = "give_up"  #: a fax: there is nothing to say to it


class Screening:
    """One call's. ``wanted``: machine detection was asked for when it was dialled."""

    def __init__(self, wanted: bool, settings: CallSettings) -> None:
        self.stage = Stage.WAITING if wanted else Stage.OFF
        self.verdict: MachineDetected | None = None
        self.deadline: int | None = None
        self._settings = settings

    def started(self, now: int) -> None:
        """The media stream started; the first message waits while ``stage`` is WAITING."""
        if self.stage is Stage.WAITING:
            self.deadline = later(now, self._settings.screening_s)

    def again(self, now: int) -> None:
        """The message cannot be left just yet: try again in a moment."""
        self.stage = Stage.MACHINE
        self.deadline = later(now, _AGAIN_S)

    def spoke(self) -> list[Cue]:
        """The callee said something: "hello?", most likely."""
        return self._open()

    def detected(self, now: int, report: MachineDetected) -> list[Cue]:
        """A verdict, or news of the machine's greeting."""
        if self.stage in (Stage.OFF, Stage.DONE):
            return []
        cues: list[Cue] = []
        if self.verdict is None:
            self.verdict = report
            cues.append(Cue.TELL)
        if report.classification is Answerer.MACHINE:
            if self.stage is not Stage.MACHINE:
                self.stage = Stage.MACHINE
                cues.append(Cue.HUSH)
                self.deadline = later(now, self._settings.greeting_s)
            if report.greeting_ended:
                cues += self._leave()
        elif report.classification is Answerer.FAX:
            self.stage = Stage.DONE
            self.deadline = None
            cues.append(Cue.GIVE_UP)
        else:
            cues += self._open()
        return cues

    def tick(self, now: int) -> list[Cue]:
        """``deadline`` passed: decide without knowing."""
        if self.deadline is None or now < self.deadline:
            return []
        return self._leave() if self.stage is Stage.MACHINE else self._open()

    def _open(self) -> list[Cue]:
        if self.stage is not Stage.WAITING:
            return []
        self.stage = Stage.OPEN
        self.deadline = None
        return [Cue.SPEAK_FIRST]

    def _leave(self) -> list[Cue]:
        self.stage = Stage.DONE
        self.deadline = None
        return [Cue.LEAVE_MESSAGE]
