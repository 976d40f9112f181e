"""What the demo shows: a progress line that lives, the transcript as it happens, a table at the end."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TextIO

from patter_core import events as ev
from patter_core.call.metrics import TurnMetrics
from patter_core.simulator.events import SimCallDone, SimCallPlaced, SimDialled, SimProblem

__all__ = ["Screen", "table"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table; numbers to the right, text to the left."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        parts = []
        for i, cell in enumerate(cells):
            number = cell.replace(".", "").replace("-", "").isdigit() or cell == "-"
            parts.append(cell.rjust(widths[i]) if number else cell.ljust(widths[i]))
        return "  " + "  ".join(parts).rstrip()

    rule = "  " + "  ".join("-" * min(width, 40) for width in widths)
    return "\n".join([line(head), rule, *(line(row) for row in rows)])


class Screen:
    """Events in, lines out. On a terminal one line at the bottom is redrawn; elsewhere only whole lines are printed."""

    def __init__(self, out: TextIO | None = None, live: bool | None = None) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty() if live is None else live
        self._status = ""
        self.turns: list[TurnMetrics] = []
        self.ended: list[ev.CallEnded] = []
        self.done: list[SimCallDone] = []
        self.problems: list[str] = []
        self.follow = ""  # show only this call's conversation
        self.they = "caller"  # what the other side is called
        self.named: dict[str, str] = {}  # dialled calls: what they were called before the carrier named them
        self._began = False
        self._interruption = ""

    def line(self, text: str = "") -> None:
        """A line that stays."""
        self._wipe()
        self._out.write(text + "\n")
        self._draw()

    def _said(self, who: str, text: str) -> None:
        """A line of the transcript, wrapped under itself."""
        width = min(shutil.get_terminal_size((100, 24)).columns, 120) - 1
        indent = " " * 10
        self.line(textwrap.fill(text, max(width, 40), initial_indent=f"  {who:>6}  ", subsequent_indent=indent))

    def status(self, text: str) -> None:
        """What is going on right now."""
        self._wipe()
        self._status = text
        self._draw()

    def _wipe(self) -> None:
        if self._live and self._status:
            self._out.write("\r\x1b[2K")

    def _draw(self) -> None:
        if self._live and self._status:
            self._out.write(self._status[: shutil.get_terminal_size().columns - 1])
        self._out.flush()

    def hear(self, event: object) -> None:
        """An event of the server or of the simulated carrier."""
        if self.follow and getattr(event, "call_id", self.follow) not in ("", self.follow):
            return
        match event:
            case SimCallPlaced():
                self.status("  ringing: the webhook is posted, signed")
            case ev.CallOffered():
                self.status("  webhook verified; the stream is being opened")
            case ev.CallNamed(call_id, ref):
                self.named[call_id] = ref
            case SimDialled(to=to):
                self.status(f"  calling {to}")
            case ev.MachineAnswered(classification=who):
                self.status(f"  taken by a {who}")
            case ev.CallStarted():
                self.status("  connected")
            case ev.WebhookChanged(now=url):
                self.line(f"  webhook {url}, set at the carrier")
            case ev.TranscriptLine(_, role, text, _, interrupted):
                if not self._began:
                    self._began = True
                    self.line()
                who = {"user": self.they, "assistant": "agent"}.get(role, role)
                self._said(who, f"{text} ..." if interrupted else text)
                if interrupted:
                    self.line(self._interruption)
                self.status("  listening" if role == "assistant" else "  thinking")
            case ev.BargedIn(_, _, heard, dropped):
                rest = f"; {dropped / 1000:.1f} s more were never heard" if dropped else ""
                self._interruption = f"          (interrupted after {heard / 1000:.1f} s{rest})"
            case ev.TurnCompleted(_, turn):
                self.turns.append(turn)
            case ev.CallEnded():
                self.status("")
                self.ended.append(event)
            case SimCallDone():
                self.done.append(event)
            case SimProblem(_, detail):
                self.problems.append(detail)
                self.line(f"  problem  {detail}")
            case ev.ShutdownStep(step, name, detail):
                self.line(f"  {step}/6  {name}" + (f"  ({detail})" if detail else ""))
            case ev.ProviderSwitched(_, stage, to, detail):
                self.line(f"  problem  {stage}: {detail}; on with {to}")
            case ev.ToolRan(_, name, ok, ms):
                self.line(f"          ({name}: {'done' if ok else 'failed'} in {ms} ms)")
            case ev.SpeechFailed(_, stage, detail) | ev.CallbackFailed(_, stage, detail):
                self.problems.append(f"{stage}: {detail}")
                self.line(f"  problem  {stage}: {detail}")
            case ev.Refused(what, status, code, _, detail):
                self.line(f"  refused  {what}, {status} {code}" + (f": {detail}" if detail else ""))
            case ev.OrderRefused(_, order, detail):
                self.problems.append(f"{order}: {detail}")
                self.line(f"  problem  the carrier refused to {order}: {detail}")
            case ev.HangUpFailed(_, detail):
                self.line(f"  problem  the hang-up was not confirmed: {detail}")
            case ev.CallbackTimedOut(_, callback, after):
                self.problems.append(f"{callback} timed out")
                self.line(f"  problem  {callback} took longer than {after} ms")
            case ev.Bug(where, detail):
                self.problems.append(f"bug in {where}: {detail}")
                self.line(f"  problem  bug in {where}: {detail}")

    def turn_table(self) -> str:
        """Where each answer's silence went."""
        if not self.turns:
            return "  no turns"
        head = ("turn", "caller said", "endpoint", "stt", "reply", "tts", "send", "play", "silence, ms")
        rows = []
        for turn in self.turns:
            latency = turn.latency
            parts = [
                latency.endpoint_ms,
                latency.stt_ms,
                latency.llm_ms,
                latency.tts_ms,
                latency.send_ms,
                latency.play_ms,
            ]
            figures = [f"{part:.1f}" for part in parts]
            rows.append((str(turn.turn_index), turn.user_text, *figures, f"{latency.total_ms:.1f}"))
        return table(head, rows)
