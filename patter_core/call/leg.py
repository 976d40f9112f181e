"""Our telephone leg at the carrier: the orders it takes, and whether it is still up.

DIALLING --answered--> UP --we hang up--> HANGING_UP --> DOWN
    \\--over------------\\--over----------------------/
"""

from __future__ import annotations

import enum

from ..audio.formats import L16_16K, PCMU_8K, AudioFormat
from ..carriers.carrier import (
    DialPlan,
    Leg,
    MediaStream,
    RecordingStep,
    RestOutcome,
    StreamPlan,
    TransferPlan,
)
from ..carriers.dialects import dialect_of
from ..engines.build import wanted_line
from ..timers import later
from .progress import Progress
from .rests import Rests, Settled
from .spec import CallSpec
from .words import CallOrder

__all__ = ["CarrierLeg", "LegState"]


class LegState(enum.Enum):
    """Whether the carrier still has the other party on the line."""

    DIALLING = "dialling"
    UP = "up"
    HANGING_UP = "hanging_up"
    DOWN = "down"


class CarrierLeg:
    """One call's leg. ``tick`` tells what its orders came to; their tags name the methods that give them."""

    def __init__(self, spec: CallSpec) -> None:
        self.call_id = spec.call_id
        self.state = LegState.UP if spec.dial is None else LegState.DIALLING
        self.progress = Progress()
        self.rests = Rests()
        self.failure: str | None = None  # why the carrier did not confirm the hang-up
        self._spec = spec
        self._settings = spec.settings
        self._dialect = dialect_of(spec.carrier)
        self._asked = self._dialect.line(wanted_line(spec.agent.engine))
        self._commands = 0
        self._hangup_by: int | None = None
        self._worded = False  # the hang-up under way also says the last words
        self._words_by: int | None = None  # the carrier's own voice is speaking: until then at most
        self._words_s = spec.settings.brief_s

    @property
    def line(self) -> AudioFormat:
        """What the stream will most likely carry: what we ask for."""
        return self._asked

    # --- names -------------------------------------------------------------------------------------------------------

    def _leg(self, call_id: str = "") -> Leg:
        self._commands += 1
        spec = self._spec
        return Leg(spec.account, spec.base_url, call_id or self.call_id, f"{spec.call_id}:{self._commands}")

    @property
    def up(self) -> bool:
        """The carrier may still have somebody on the line."""
        return self.state is not LegState.DOWN

    @property
    def kept(self) -> bool:
        """The carrier keeps the leg up by itself, stream or no stream: it was answered by an order of ours."""
        plan = self._plan("wss://-", "", PCMU_8K)
        return self._spec.dial is not None or self._dialect.answer(self._leg(), plan) is not None

    def adopt(self, spec: CallSpec) -> None:
        """What is known of the call has changed; its carrier has not."""
        self._spec = spec

    # --- the media stream --------------------------------------------------------------------------------------------

    def stream(self) -> MediaStream:
        """Our side of a stream of this leg's."""
        return self._dialect.stream(self._spec.options, self._asked)

    def other_codec(self) -> bool:
        """Would it help to ask for another codec? Then the next stream asks for plain mu-law, which carriers know."""
        if self._dialect.line(L16_16K) == PCMU_8K or self._asked == PCMU_8K:
            return False
        self._asked = PCMU_8K
        return True

    def _plan(self, url: str, token: str, line: AudioFormat) -> StreamPlan:
        spec = self._spec
        return StreamPlan(url, {"caller": spec.caller, "callee": spec.callee}, line, token, spec.webhooks)

    # --- orders ------------------------------------------------------------------------------------------------------

    def dial(self, now: int, plan: DialPlan, out: list[CallOrder]) -> None:
        """Place the call."""
        self.rests.ask(now, "dial", self._dialect.dial(self._leg(), plan), self._settings.dial_s, out, once=True)

    def answer(self, now: int, url: str, token: str, out: list[CallOrder]) -> None:
        """Take the call, where its webhook's answer did not."""
        request = self._dialect.answer(self._leg(), self._plan(url, token, self._asked))
        if request is not None:
            self.rests.ask(now, "answer", request, self._settings.order_s, out)

    def begin_stream(self, now: int, url: str, token: str, out: list[CallOrder]) -> None:
        """The dialled leg was answered: have its stream opened, where the carrier does not ask for it."""
        request = self._dialect.begin_stream(self._leg(), self._plan(url, token, self._asked))
        if request is not None:
            self.rests.ask(now, "stream", request, self._settings.order_s, out)

    def restart_stream(self, now: int, url: str, token: str, out: list[CallOrder]) -> None:
        """Have another stream opened."""
        request = self._dialect.restart_stream(self._leg(), self._plan(url, token, self._asked))
        self.rests.ask(now, "stream", request, self._settings.order_s, out)

    def streams(self, out: list[CallOrder]) -> None:
        """The stream is there: whatever the carrier would still say about the order that brought it means nothing."""
        self.state = LegState.UP
        self.rests.drop("answer", out)
        self.rests.drop("stream", out)

    def press(self, now: int, name: str, digits: str, tone_ms: int, out: list[CallOrder]) -> bool:
        """Press keys. False: the carrier cannot."""
        request = self._dialect.send_keys(self._leg(), digits, tone_ms)
        if request is not None:
            self.rests.ask(now, name, request, self._settings.order_s, out)
        return request is not None

    def record(self, now: int, step: RecordingStep, out: list[CallOrder]) -> None:
        """Start, pause, resume or stop the recording."""
        request = self._dialect.record(self._leg(), step, self._spec.webhooks)
        self.rests.ask(now, f"record_{step.value}", request, self._settings.order_s, out)

    def transfer(self, now: int, plan: TransferPlan, out: list[CallOrder]) -> None:
        """Send the caller elsewhere."""
        request = self._dialect.transfer(self._leg(), plan)
        self.rests.ask(now, "send", request, self._settings.order_s, out, once=True)  # or it might ring there twice

    def consult(self, now: int, plan: DialPlan, out: list[CallOrder]) -> None:
        """Dial another leg, to be joined with this one later."""
        self.rests.ask(now, "consult", self._dialect.dial(self._leg(), plan), self._settings.dial_s, out, once=True)

    def brief(self, now: int, other: str, plan: DialPlan, out: list[CallOrder]) -> None:
        """Tell that leg what this is about, where its dialling did not."""
        request = self._dialect.brief(self._leg(other), plan)
        if request is not None:
            self.rests.ask(now, "brief", request, self._settings.order_s, out)

    def join(self, now: int, other: str, plan: DialPlan, out: list[CallOrder]) -> None:
        """Connect the two legs."""
        request = self._dialect.join(self._leg(), self._leg(other), plan)
        self.rests.ask(now, "join", request, self._settings.order_s, out, once=True)

    def drop_other(self, now: int, other: str, out: list[CallOrder]) -> None:
        """Hang up the other leg."""
        self.rests.ask(
            now, f"drop_other:{other}", self._dialect.hang_up(self._leg(other)), self._settings.hangup_s, out
        )

    # --- the end -----------------------------------------------------------------------------------------------------

    def hang_up(self, now: int, words: str, out: list[CallOrder]) -> None:
        """Free the line; first let the carrier say ``words``, if there are any."""
        self.state = LegState.HANGING_UP
        for tag in ("answer", "stream", "send", "join"):
            self.rests.drop(tag, out)
        plan = self._spec.dial
        if plan is not None and self.call_id == plan.ref:
            # The order to dial may still be carried out: its answer, or a report, names what is to be hung up.
            self._hangup_by = later(now, self._settings.dial_s)
            return
        if words:
            request, ends = self._dialect.speak(self._leg(), words, self._spec.agent.language)
            self._worded = ends
            self.rests.ask(now, "hangup" if ends else "speak", request, self._settings.hangup_s, out)
        else:
            self._free(now, out)

    def _free(self, now: int, out: list[CallOrder]) -> None:
        self._words_by = None
        self._worded = False
        self.rests.ask(now, "hangup", self._dialect.hang_up(self._leg()), self._settings.hangup_s, out)

    def hurry(self, now: int) -> None:
        """The server stops: last words may take no longer than any other hang-up, and nobody may be left to hear that
        they are over."""
        self._words_s = self._settings.hangup_s
        if self._words_by is not None:
            self._words_by = min(self._words_by, later(now, self._words_s))

    def named(self, now: int, call_id: str, out: list[CallOrder]) -> None:
        """The carrier's name for a leg that was dialled has become known."""
        self.call_id = call_id
        if self.state is LegState.HANGING_UP and self._hangup_by is not None:
            self._hangup_by = None
            self._free(now, out)

    def spoken(self, now: int, out: list[CallOrder]) -> None:
        """The carrier's voice has said the last words."""
        if self._words_by is not None:
            self._free(now, out)

    def settled(self, now: int, news: Settled, out: list[CallOrder]) -> None:
        """One of the hang-up's own orders is done with."""
        if self.state is not LegState.HANGING_UP:
            return
        match news.tag:
            case "speak" if news.outcome is RestOutcome.DONE:
                self._words_by = later(now, self._words_s)
            case "speak" | "hangup" if news.outcome is RestOutcome.REFUSED and (self._worded or news.tag == "speak"):
                self._free(now, out)  # the carrier will not speak for us: then at least the line is freed
            case "speak" | "hangup":
                self.down(out, None if news.done else news.detail or "refused")
            case "dial" if not news.done and self._hangup_by is not None:
                self.down(out, None if news.outcome is not None else "the carrier never said whether it dialled")

    def down(self, out: list[CallOrder], failure: str | None = None) -> None:
        """The leg is over."""
        self.state = LegState.DOWN
        self.failure = failure
        self._hangup_by = self._words_by = None
        for tag in ("dial", "answer", "stream", "speak", "hangup", "send", "join"):
            self.rests.drop(tag, out)

    @property
    def deadline(self) -> int | None:
        """When to call ``tick``."""
        times = [at for at in (self.rests.deadline, self._hangup_by, self._words_by) if at is not None]
        return min(times) if times else None

    def tick(self, now: int, out: list[CallOrder]) -> list[Settled]:
        """Repeat and give up what is due."""
        if self._words_by is not None and now >= self._words_by:
            self._free(now, out)
        if self._hangup_by is not None and now >= self._hangup_by:
            self.down(out, "the carrier never said which call it dialled")
        return self.rests.tick(now, out)
