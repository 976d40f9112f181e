"""Conferences of the simulated carrier: who is in which room, and what that means for the others."""

from __future__ import annotations

from collections.abc import Callable

from .leg import Leg
from .orders import EnterRoom, Report, RoomChanged

__all__ = ["Rooms"]


class _Room:
    def __init__(self, name: str, room_id: str, step: EnterRoom) -> None:
        self.name = name
        self.id = room_id
        self.url = step.reports.room_url  # a room reports to whoever came first
        self.events = step.reports.room_events
        self.members: dict[int, tuple[Leg, EnterRoom]] = {}
        self.started = False
        self.sequence = 0


class Rooms:
    """``tell`` reports for a leg; ``over`` is called for a leg whose room closed; ``joined`` for two who now hear each
    other: the one who came in, and one who waited."""

    def __init__(
        self, tell: Callable[[int, Leg, Report], None], over: Callable[[int, Leg, EnterRoom], None],
        joined: Callable[[int, Leg, Leg], None],
    ) -> None:  # fmt: skip
        self._tell = tell
        self._over = over
        self._joined = joined
        self._rooms: dict[str, _Room] = {}
        self._made = 0

    def enter(self, now: int, leg: Leg, step: EnterRoom) -> None:
        """A leg comes in."""
        room = self._rooms.get(step.room)
        if room is None:
            self._made += 1
            room = self._rooms[step.room] = _Room(step.room, f"CF{self._made:032x}", step)
        others = [other for other, _ in room.members.values()]
        room.members[leg.number] = (leg, step)
        leg.room = step.room
        self._changed(now, room, leg, "join", step)
        if others and (room.started or any(inside.starts for _, inside in room.members.values())):
            if not room.started:
                room.started = True
                self._changed(now, room, leg, "start", step)
            self._joined(now, leg, others[0])

    def leave(self, now: int, leg: Leg) -> None:
        """A leg goes; if the room ends with it, everybody else's stay is over too."""
        room = self._rooms.get(leg.room)
        leg.room = ""
        if room is None or leg.number not in room.members:
            return
        _, step = room.members.pop(leg.number)
        self._changed(now, room, leg, "leave", step)
        if not step.ends and room.members:
            return
        del self._rooms[room.name]
        self._changed(now, room, leg, "end", step)
        for other, theirs in room.members.values():
            other.room = ""
            self._over(now, other, theirs)

    def _changed(self, now: int, room: _Room, leg: Leg, what: str, step: EnterRoom) -> None:
        room.sequence += 1
        if what in room.events:
            report = RoomChanged(what, room.name, room.id, room.sequence, room.url, step.starts, step.ends)
            self._tell(now, leg, report)
