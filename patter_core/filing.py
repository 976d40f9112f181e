"""What calls leave on the disk while they last: traces, and recordings of our own. Written by named handlers, piece by
piece, each file's in order; a disk that fails or does not keep up costs the file, never the call."""

from __future__ import annotations

from collections.abc import Callable

from .contract import Invoke, Lane, Notify, Order, TaskId
from .events import Bug, RecordingBroken
from .trace import Tracer
from .writer import Writer

__all__ = ["Filing"]

_TRACE_PIECE = 32 * 1024


class Filing:
    """A server's. Orders go to ``out``; ``new`` gives fresh names."""

    def __init__(self, out: list[Order], new: Callable[[], int]) -> None:
        self._out = out
        self._new = new
        self._traces: dict[TaskId, Tracer] = {}
        self._tapes: dict[TaskId, tuple[Writer, str]] = {}

    def __len__(self) -> int:
        """Pieces on their way to the disk."""
        return len(self._traces) + len(self._tapes)

    def trace(self, tracer: Tracer) -> None:
        """There may be a piece of a trace worth writing; of one that is complete, any."""
        data = tracer.take(1 if tracer.complete else _TRACE_PIECE)
        if data:
            task = TaskId(self._new())
            tracer.busy = True
            self._traces[task] = tracer
            handler = "file.append" if tracer.begun else "file.create"
            tracer.begun = True
            self._out.append(Invoke(task, Lane.THREAD, handler, (tracer.path, data)))

    def tape(self, writer: Writer, call_id: str, data: bytes, offset: int) -> None:
        """A piece of a recording."""
        was_broken = writer.broken
        if not writer.put(data, offset) and not was_broken:
            detail = f"{writer.path}: the disk does not keep up; the rest of this call is not recorded"
            self._out.append(Notify(RecordingBroken(call_id, detail)))
        self._next(writer, call_id)

    def _next(self, writer: Writer, call_id: str) -> None:
        step = writer.next()
        if step is not None:
            handler, args = step
            task = TaskId(self._new())
            self._tapes[task] = (writer, call_id)
            self._out.append(Invoke(task, Lane.THREAD, handler, args))

    def done(self, task: TaskId, failure: str = "") -> bool:
        """A handler is done, or failed. False: it was none of ours."""
        tracer = self._traces.pop(task, None)
        if tracer is not None:
            tracer.busy = False
            if failure:
                tracer.truncated = True
                self._out.append(Notify(Bug("trace", f"cannot write {tracer.path}: {failure}")))
            else:
                self.trace(tracer)
            return True
        found = self._tapes.pop(task, None)
        if found is None:
            return False
        writer, call_id = found
        if failure and not writer.broken:
            self._out.append(Notify(RecordingBroken(call_id, f"cannot write {writer.path}: {failure}")))
        writer.written(not failure)
        self._next(writer, call_id)
        return True
