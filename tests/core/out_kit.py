"""A call of either carrier on virtual time: the carrier's reports are given in the shared words, its stream is its own
peer's."""

from __future__ import annotations

from typing import Any

from patter_core.audio.formats import PCMU_8K, AudioFormat
from patter_core.call.call import Call
from patter_core.call.spec import CallSpec
from patter_core.call.words import (
    Begun,
    CallOrder,
    CarrierSaid,
    Deny,
    MintStream,
    Reply,
    Reported,
    Rest,
    RestDone,
    StreamCame,
    StreamMinted,
)
from patter_core.carriers.carrier import CallStatus, CallStatusChanged, DialPlan, RestOutcome, WebhookEvent
from patter_core.carriers.telnyx.stream_peer import TelnyxStreamPeer
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer
from patter_core.config import AgentSpec
from patter_core.settings import CallSettings
from tests.core.call_kit import ECHO, Rig

CARRIERS = ("twilio", "telnyx")
US, THEM, DESK = "+15550001234", "+15550100001", "+15550002222"
IDS = {"twilio": "CA" + "7" * 32, "telnyx": "v3:call-control-id"}
OTHER = {"twilio": "CA" + "8" * 32, "telnyx": "v3:the-other-leg"}
REF = "dial-1"
URL = "wss://agent.example/ws/stream/x/ticket"


class CarrierRig(Rig):
    """``out=True``: a call of ours; else one that was announced."""

    def __init__(
        self,
        carrier: str,
        agent: AgentSpec = ECHO,
        *,
        out: bool = False,
        detect: bool = False,
        ring_s: int = 25,
        voicemail: str = "",
        recording: bool = False,
        announcement: str = "",
        **settings: Any,
    ) -> None:
        super().__init__(agent)
        self.carrier, self.id, self.other = carrier, IDS[carrier], OTHER[carrier]
        hooks = f"https://agent.example/webhooks/{carrier}"
        dial = DialPlan(THEM, US, hooks, REF, ring_timeout_s=ring_s, machine_detection=detect) if out else None
        self.spec = CallSpec(
            call_id=REF if out else self.id,
            carrier=carrier,
            agent=agent,
            caller=US if out else THEM,
            callee=THEM if out else US,
            direction="outbound" if out else "inbound",
            account="AC1" if carrier == "twilio" else "connection",
            webhooks=hooks,
            dial=dial,
            voicemail_message=voicemail,
            recording=recording,
            recording_announcement=announcement,
            settings=CallSettings(**settings),
            epoch=1_700_000_000_000_000,
        )
        self.call = Call(0, self.spec)
        self.peer: TwilioStreamPeer | TelnyxStreamPeer | None = None
        self.minted = 0

    # --- the carrier's REST API --------------------------------------------------------------------------------------

    def request(self, tag: str) -> Rest | None:
        """The last request of an order of this kind."""
        found = [rest for rest in self.all(Rest) if rest.name.rpartition(":")[0] == tag]
        return found[-1] if found else None

    def did(
        self,
        tag: str,
        outcome: RestOutcome | None = RestOutcome.DONE,
        value: str = "",
        detail: str = "HTTP 200",
        safe: bool = False,
    ) -> list[CallOrder]:
        """The carrier answers the last request of an order of this kind."""
        request = self.request(tag)
        assert request is not None, f"no {tag} was ordered: {[rest.name for rest in self.all(Rest)]}"
        return self.do(RestDone(request.name, outcome, detail, value, safe))

    def ordered(self, tag: str) -> int:
        """How often."""
        return sum(rest.name.rpartition(":")[0] == tag for rest in self.all(Rest))

    # --- the carrier's reports ---------------------------------------------------------------------------------------

    def report(self, event: WebhookEvent, ref: str = "") -> list[CallOrder]:
        return self.do(Reported(event, ref))

    def status(
        self, status: CallStatus, sequence: int | None = None, *, sip: int | None = None, ref: str = "", of: str = ""
    ) -> list[CallOrder]:
        event = CallStatusChanged(of or self.id, status, raw=status.value, sequence=sequence, sip_code=sip)
        return self.report(event, ref or (REF if self.spec.dial else ""))

    # --- its stream --------------------------------------------------------------------------------------------------

    def begin_call(self) -> list[CallOrder]:
        """The webhook is answered, or the number dialled."""
        return self.do(Begun("" if self.spec.dial else URL, "" if self.spec.dial else "ticket"))

    def mint(self) -> list[CallOrder]:
        """Give the call the stream address it asked for, if it did."""
        asked = len(self.all(MintStream))
        assert asked == self.minted + 1, f"{asked} addresses asked for, {self.minted} given"
        self.minted = asked
        return self.do(StreamMinted(f"{URL}{asked}", "ticket"))

    def stream(self, audio: AudioFormat = PCMU_8K, call_id: str = "") -> list[CallOrder]:
        """The stream opens and starts."""
        return [*self.do(StreamCame()), *self.start(audio, call_id)]

    def start(self, audio: AudioFormat = PCMU_8K, call_id: str = "") -> list[CallOrder]:
        name, call_id = f"stream-{self.minted}", call_id or self.id
        if self.carrier == "twilio":
            self.peer = TwilioStreamPeer(name, call_id, "AC1")
        else:
            self.peer = TelnyxStreamPeer(name, call_id, "user", None, audio)
        out = self.do(CarrierSaid(self.peer.connected()))
        return [*out, *self.do(CarrierSaid(self.peer.start()))]

    def press(self, digit: str) -> list[CallOrder]:
        assert self.peer is not None
        return self.do(CarrierSaid(self.peer.dtmf(digit)))

    def hear_frame(self, payload: bytes) -> list[CallOrder]:
        assert self.peer is not None
        self.frames = getattr(self, "frames", 0) + 1
        return self.do(CarrierSaid(self.peer.media(payload, self.frames * 20)))

    def stop_stream(self) -> list[CallOrder]:
        assert self.peer is not None
        return self.do(CarrierSaid(self.peer.stop()))

    def talking(self) -> CarrierRig:
        """As far as a call gets by itself: answered and streaming."""
        self.begin_call()
        if self.spec.dial:
            self.did("dial", value=self.id)
            self.status(CallStatus.RINGING, 1)
            self.status(CallStatus.IN_PROGRESS, 2)
            self.mint()
        if self.request("answer"):
            self.did("answer")
        if self.request("stream"):
            self.did("stream")
        self.stream()
        return self

    def finish_call(self) -> None:
        """Give the call whatever it still waits for."""
        for _ in range(120):
            if self.over:
                return
            if self.asked:
                self.did(self.asked.rpartition(":")[0])
            elif self.call.attached:
                self.lose(1000)
            elif not self.callback():
                self.later(1_000_000)
        raise AssertionError("the call never ended")

    # --- what came of it ---------------------------------------------------------------------------------------------

    def replies(self) -> dict[str, Any]:
        return {order.ask: order.value for order in self.all(Reply)}

    def denials(self) -> dict[str, str]:
        return {order.ask: order.code for order in self.all(Deny)}

    @property
    def result(self) -> Any:
        assert len(self.over) == 1
        return self.over[0].result
