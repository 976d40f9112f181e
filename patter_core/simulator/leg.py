"""One telephone leg, as the simulated carrier keeps it: who is on it, what it is doing, what was heard."""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING

from ..audio.formats import PCMU_8K, AudioFormat
from .callee import Callee
from .handset import Handset
from .orders import Cause, Machine, Reports, Step, StreamWanted
from .script import Act, Player

if TYPE_CHECKING:
    from .media import StreamEnd

__all__ = ["Leg", "Phase", "Taping"]


class Phase(enum.Enum):
    """Where a leg is."""

    PLANNED = "planned"
    RINGING = "ringing"  # its first webhook is out, or it rings at the callee's
    UP = "up"
    ENDED = "ended"  # the telephone call is over; its stream may still be open
    DONE = "done"


class Taping:
    """A recording of a leg."""

    def __init__(self, number: int, recording_id: str, began: int, url: str) -> None:
        self.number = number
        self.id = recording_id
        self.began = began
        self.ended = -1
        self.url = url
        self.paused = False


class Leg:
    """Data only; the board in ``carrier.py`` does everything to it."""

    def __init__(self, number: int, call_id: str, caller: str, callee: str, acts: tuple[Act, ...]) -> None:
        self.number = number
        self.id = call_id
        self.caller = caller
        self.callee = callee
        self.outgoing = False  # dialled by the carrier
        self.session = ""  # what legs that belong together share
        self.began_us = 0  # unix time of its first report
        self.told = 0  # counts the reports
        self.parent: Leg | None = None  # who is being connected with this leg, once it answers
        self.bridges = False  # ... and then both are told
        self.phase = Phase.PLANNED
        self.reports = Reports()
        self.sequence = 0  # of the next status report
        self.line: AudioFormat = PCMU_8K  # what the telephone network brings
        self.most_ms = 120_000
        self.callee_plan: Callee | None = None
        self.machine = Machine.OFF
        self.verdict_told = False
        self.timeout_ms = 0
        self.wanted: StreamWanted | None = None  # to be opened when the leg is answered
        self.commands: dict[str, None] = {}  # seen, oldest first

        self.program: deque[Step] = deque()
        self.epoch = 0  # counts programs: an answer that comes after a newer one was ordered is too late
        self.stream: StreamEnd | None = None
        self.spare: list[StreamEnd] = []  # second streams, and streams on their way out
        self.streams = 0
        self.speaking = 0  # counts what the carrier's voice said
        self.dialling: Leg | None = None  # the other leg, of which this is the parent
        self.action = ""  # fetched when that, or a room, is over
        self.voice_until = 0  # the carrier's voice is heard on the line
        self.bridged: Leg | None = None
        self.parks = False
        self.room = ""
        self.tapings: list[Taping] = []

        self.player = Player(acts)
        self.handset = Handset()
        self.frames = 0
        self.next_frame = 0
        self.clock = False  # the person's clock runs
        self.started = 0  # the first stream opened
        self.answered_at = -1
        self.ended_at = -1
        self.sent = bytearray()
        self.rest = False
        self.said: list[str] = []
        self.keys: list[str] = []
        self.close_code = 0
        self.outcome = ""
        self.detail = ""
        self.cause = Cause.NORMAL
        self.source = "unknown"
        self.probes: dict[bytes, int] = {}
        self.latencies: list[int] = []

    @property
    def live(self) -> bool:
        """Somebody is, or may come to be, on the line."""
        return self.phase in (Phase.RINGING, Phase.UP)
