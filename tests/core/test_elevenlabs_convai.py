"""The ElevenLabs agent's engine with its peer, in virtual time: who has the word, what is heard, what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.audio.formats import L16_8K, L16_16K, L16_24K, PCMU_8K, AudioFormat, Encoding
from patter_core.audio.g711 import ulaw_encode
from patter_core.audio.tones import tone
from patter_core.audio.transcode import Transcoder
from patter_core.call.words import (
    CloseLink,
    Drop,
    LinkClosed,
    LinkOpened,
    LinkSaid,
    OpenLink,
    Run,
    SayOnLink,
    TaskRaised,
    TaskReturned,
)
from patter_core.contract import Fault, Lane
from patter_core.engines.elevenlabs_convai import ElevenLabsConvAISpec, wire
from patter_core.engines.elevenlabs_convai.engine import ElevenLabsConvAIEngine, refuses
from patter_core.engines.elevenlabs_convai.memory import Memory
from patter_core.engines.engine import (
    CallerSaid,
    CallerStarted,
    CallerStopped,
    CallTool,
    Ended,
    Engine,
    EngineContext,
    GaveUp,
    HungUp,
    Interrupted,
    Keyed,
    Played,
    ProviderWarned,
    ReplyBegan,
    Said,
    Say,
    Saying,
    Speak,
    SpeechEnded,
    StageFailed,
    Switched,
    ToolAnswered,
    Used,
    Worded,
)
from patter_core.engines.policy import GuardSpec, HandlerSpec, ToolSpec
from patter_core.settings import CallSettings
from patter_core.simulator.elevenlabs_peer import ConvAIPeer, ConvAIPlan, ConvAITool, speech
from patter_core.simulator.provider_peer import LinkPeer, PeerClose, PeerDrop, PeerRefuse, PeerSay

MS, S = 1_000, 1_000_000
FRAME = 20 * MS
QUIET = b"\xff" * 160
VOICE = ulaw_encode(tone(300, 20, 8000))
SPEC = ElevenLabsConvAISpec(agent_id="agent_1", auth="elevenlabs")
KEYS = {"elevenlabs": ("xi-api-key", "xi-key")}
Soup = Callable[..., Any]


class Bench:
    """An engine, its peers, the caller's line and an ear that hears what is spoken at the speed of speech."""

    def __init__(
        self,
        *plans: ConvAIPlan,
        spec: ElevenLabsConvAISpec = SPEC,
        line: AudioFormat = PCMU_8K,
        first: str = "",
        prompt: str = "",
        begin: bool = True,
        **context: Any,
    ) -> None:
        self.plans = list(plans) or [ConvAIPlan()]
        given = EngineContext(
            "CA1", "+15550000001", "+15550000002", line, prompt, first, "en", "alloy", "e:", **context
        )
        self.engine = ElevenLabsConvAIEngine(given, spec, CallSettings())
        self.line = line
        self.now = 0
        self.out: list[Any] = []
        self.at: list[int] = []
        self.peers: dict[str, ConvAIPeer] = {}
        self.made: list[ConvAIPeer] = []
        self.urls: list[str] = []
        self.next_frame = FRAME
        self.voice = False
        self.ear: list[tuple[str, int, int]] = []  # item, from, to
        self.ended_items: set[str] = set()
        self.cut_at = -1
        if begin:
            self.take(self.engine.begin(0))

    # --- the world -------------------------------------------------------------------------------------------------

    def take(self, orders: list[Any]) -> list[Any]:
        for order in orders:
            self.out.append(order)
            self.at.append(self.now)
            match order:
                case OpenLink(name, url, _, auth):
                    plan = self.plans[min(len(self.made), len(self.plans) - 1)]
                    peer = ConvAIPeer(plan)
                    self.made.append(peer)
                    self.urls.append(url)
                    headers = dict([KEYS[auth]]) if auth else {}
                    target = "/" + url.split("/", 3)[3]
                    refused = peer.opened(self.now, target, headers)
                    if refused and isinstance(refused[0], PeerRefuse):
                        one = refused[0]
                        self.tell(LinkClosed(name, 1006, one.body.decode()[:300], one.status))
                    else:
                        self.peers[name] = peer
                        self.tell(LinkOpened(name))
                case SayOnLink(name, text):
                    if name in self.peers:
                        self.peer_did(name, self.peers[name].said(self.now, text))
                case CloseLink(name):
                    if (gone := self.peers.pop(name, None)) is not None:
                        gone.closed(self.now)
                case Run(name, _, "sign"):
                    sign = len([one for one in self.out if isinstance(one, Run)])
                    self.tell(
                        TaskReturned(name, f"wss://signed.test/v1/convai/conversation?conversation_signature=s{sign}")
                    )
                case Speak(item, audio):
                    start = max([self.now, *[to for _, _, to in self.ear]])
                    self.ear.append((item, start, start + self.engine.speaks.duration_us(len(audio))))
                case SpeechEnded(item):
                    self.ended_items.add(item)
        deadline = self.engine.deadline
        assert deadline is None or deadline > self.now, deadline
        return orders

    def tell(self, fact: Any) -> list[Any]:
        return self.take(self.engine.handle(self.now, fact))

    def peer_did(self, name: str, orders: list[Any]) -> None:
        for order in orders:
            match order:
                case PeerSay(text):
                    self.tell(LinkSaid(name, text))
                case PeerClose(code, reason):
                    self.peers.pop(name, None)
                    self.tell(LinkClosed(name, code, reason))
                case PeerDrop():
                    self.peers.pop(name, None)
                    self.tell(LinkClosed(name, 1006))

    def run(self, seconds: float, voice: bool | None = None) -> list[Any]:
        start = len(self.out)
        if voice is not None:
            self.voice = voice
        end = self.now + round(seconds * S)
        while True:
            due = [(self.next_frame, 2, "")]
            if self.engine.deadline is not None:
                due.append((self.engine.deadline, 0, ""))
            due += [(peer.deadline, 1, name) for name, peer in self.peers.items() if peer.deadline is not None]
            at, kind, name = min(due)
            if at > end:
                break
            self.now = max(self.now, at)
            if kind == 2:
                self.next_frame += FRAME
                self.frame()
            elif kind == 0:
                self.take(self.engine.tick(self.now))
            else:
                self.peer_did(name, self.peers[name].tick(self.now))
        self.now = end
        return self.out[start:]

    def frame(self) -> None:
        mulaw = VOICE if self.voice else QUIET
        self.take(self.engine.hear(self.now, Transcoder(PCMU_8K, self.engine.hears).process(mulaw)))
        for item in dict.fromkeys(item for item, _, _ in self.ear):
            last = max(to for one, _, to in self.ear if one == item)
            if last <= self.now and item in self.ended_items:
                self.ear = [one for one in self.ear if one[0] != item]
                self.tell(Played(item))
        if self.ear and max(to for _, _, to in self.ear) > self.now and self.engine.voiced_us >= 300 * MS:
            self.cut()

    def cut(self) -> None:
        """The conversation's part: stop, and say what was heard."""
        self.cut_at = self.now
        items = dict.fromkeys(item for item, _, _ in self.ear)
        heard = {item: sum(max(0, min(to, self.now) - at) for one, at, to in self.ear if one == item) for item in items}
        self.ear.clear()
        for item in items:
            self.tell(Interrupted(item, heard[item], "What was heard"))

    # --- questions -------------------------------------------------------------------------------------------------

    def got(self, kind: type, since: int = 0) -> list[Any]:
        return [order for order in self.out[since:] if type(order) is kind]

    def audio(self, item: str = "") -> bytes:
        return b"".join(order.audio for order in self.got(Speak) if item in ("", order.item))

    def words(self) -> list[str]:
        return [order.text for order in self.out if isinstance(order, Saying | Worded) and order.text]

    def when(self, kind: type, which: int = 0) -> int:
        return [at for order, at in zip(self.out, self.at, strict=True) if type(order) is kind][which]

    def sent(self, kind: str, which: int = -1) -> list[dict[str, Any]]:
        return [one for one in self.made[which].messages if one.get("type") == kind]

    def say(self, ms: int = 1000, quiet_s: float = 2.5) -> list[Any]:
        return self.run(ms / 1000, voice=True) + self.run(quiet_s, voice=False)


def talk(**plan: Any) -> ConvAIPlan:
    return ConvAIPlan(**{"first_message": "", **plan})


# --- a conversation --------------------------------------------------------------------------------------------------


def test_it_greets_and_answers_without_touching_the_audio() -> None:
    bench = Bench(ConvAIPlan(first_message="Hello there.", heard=("Good morning.",), replies=("How can I help?",)))
    assert bench.got(OpenLink)[0].url == "wss://api.elevenlabs.io/v1/convai/conversation?agent_id=agent_1"
    assert bench.got(OpenLink)[0].auth == "elevenlabs"
    bench.run(2)
    assert bench.audio("e:i1") == speech("Hello there.", PCMU_8K)
    bench.say()
    assert bench.words() == ["Hello there.", "How can I help?"]
    assert bench.audio("e:i2") == speech("How can I help?", PCMU_8K)
    kinds = [type(order) for order in bench.out if type(order) not in (Speak, SayOnLink, OpenLink)]
    turn = [CallerStarted, CallerStopped, CallerSaid, ReplyBegan, Saying, Said, SpeechEnded]
    assert kinds == [ReplyBegan, Saying, Said, SpeechEnded, *turn]
    started, stopped, said = bench.got(CallerStarted)[0], bench.got(CallerStopped)[0], bench.got(CallerSaid)[0]
    assert stopped.at - started.at == pytest.approx(1000 * MS, abs=40 * MS)
    assert said == CallerSaid("Good morning.", True, stopped.at)
    assert not bench.engine.busy


def test_the_callers_audio_is_passed_through_whole() -> None:
    bench = Bench(talk())
    bench.say(300, 0.7)
    assert bytes(bench.made[0].audio) == VOICE * 15 + QUIET * 35


def test_what_was_heard_before_the_conversation_is_kept_and_converted() -> None:
    plan = talk(input_format="pcm_16000", output_format="pcm_24000", start_us=500 * MS)
    bench = Bench(plan)
    bench.run(0.3, voice=True)
    assert (bench.engine.hears, bench.engine.speaks) == (PCMU_8K, PCMU_8K)
    bench.run(0.7, voice=False)
    assert (bench.engine.hears, bench.engine.speaks) == (L16_16K, L16_24K)
    assert len(bench.made[0].audio) == pytest.approx(1000 * 32, abs=200)


def test_early_audio_is_bounded_and_the_newest_is_kept() -> None:
    bench = Bench(talk(), begin=False)
    for _ in range(600):
        bench.engine.hear(0, QUIET)
    for _ in range(10):
        bench.engine.hear(0, VOICE)
    bench.take(bench.engine.begin(0))
    bench.run(0.5)
    audio = bytes(bench.made[0].audio)
    assert audio.startswith(QUIET * 238 + VOICE * 10)  # and two frames from while it was dialled


@pytest.mark.parametrize(
    ("output", "input_", "speaks", "hears"),
    [
        ("ulaw_8000", "ulaw_8000", PCMU_8K, PCMU_8K),
        ("pcm_16000", "pcm_16000", L16_16K, L16_16K),
        ("pcm_8000", "pcm_8000", L16_8K, L16_8K),
        ("pcm_22050", "pcm_24000", AudioFormat(Encoding.L16, 22050), L16_24K),
    ],
)
def test_formats_are_what_the_metadata_says(output: str, input_: str, speaks: AudioFormat, hears: AudioFormat) -> None:
    bench = Bench(ConvAIPlan(output_format=output, input_format=input_))
    bench.run(3)
    assert (bench.engine.speaks, bench.engine.hears) == (speaks, hears)
    assert bench.audio("e:i1") == speech("Hello, this is the agent.", speaks)


@pytest.mark.parametrize(("output", "input_"), [("pcm_44100", "pcm_16000"), ("pcm_16000", "pcm_22050")])
def test_a_format_nobody_can_use_ends_with_advice(output: str, input_: str) -> None:
    bench = Bench(ConvAIPlan(output_format=output, input_format=input_))
    bench.run(1)
    (gave_up,) = bench.got(GaveUp)
    assert "dashboard" in gave_up.detail
    assert "u-law 8000 Hz" in gave_up.detail
    assert gave_up.say
    assert bench.got(CloseLink)
    assert bench.engine.deadline is None


def test_odd_cuts_are_put_together() -> None:
    bench = Bench(ConvAIPlan(output_format="pcm_16000", input_format="pcm_16000", odd_cut=3001))
    bench.run(4)
    assert all(len(order.audio) % 2 == 0 for order in bench.got(Speak))
    assert bench.audio() == speech("Hello, this is the agent.", L16_16K)


def test_audio_may_come_before_its_words() -> None:
    bench = Bench(ConvAIPlan(audio_first=True))
    bench.run(3)
    kinds = [type(order) for order in bench.out if type(order) in (ReplyBegan, Saying, Speak, Worded, SpeechEnded)]
    assert kinds[:4] == [ReplyBegan, Saying, Speak, Worded]
    assert kinds.count(SpeechEnded) == 1
    assert bench.words() == ["Hello, this is the agent."]


def test_an_item_ends_when_its_audio_does() -> None:
    bench = Bench(ConvAIPlan(first_message="One. Two. Three."))
    bench.run(3)
    assert bench.when(SpeechEnded) - bench.when(Speak, -1) == 700 * MS
    assert bench.when(Said) == bench.when(SpeechEnded)


def test_words_without_audio_are_a_failure_that_ends() -> None:
    bench = Bench(talk(heard=("Hm?",), replies=("Silent.",), mute_reply=0))
    bench.say(quiet_s=3)
    assert bench.engine.busy
    bench.run(10)
    assert bench.got(StageFailed)[0].stage == "tts"
    assert bench.got(SpeechEnded)
    assert not bench.engine.busy


def test_pings_are_answered_with_their_id() -> None:
    bench = Bench(talk(ping_every_us=S, event_base=100))
    bench.run(3.5)
    assert bench.made[0].pongs == [100, 101, 102]


def test_partials_are_passed_on_and_silence_is_not_speech() -> None:
    bench = Bench(talk(tentative=True, heard=("Hello", "...")))
    bench.say()
    bench.say()
    assert [(one.text, one.final) for one in bench.got(CallerSaid)] == [("Hello", False), ("Hello", True)]


# --- barge-in --------------------------------------------------------------------------------------------------------


def interrupted_bench(**plan: Any) -> Bench:
    long = "This is a very long story about nothing in particular that goes on and on and on without an end."
    bench = Bench(ConvAIPlan(first_message=long, heard=("Stop.",), replies=("Fine, I stop.",), **plan))
    bench.run(1)
    return bench


def test_the_vendor_interrupts_and_the_line_is_cut_at_once() -> None:
    bench = interrupted_bench()
    bench.run(0.6, voice=True)
    interruption = 1 * S + 300 * MS
    assert 0 <= bench.cut_at - interruption <= 60 * MS
    assert len(bench.got(CallerStarted)) == 1
    bench.run(2.5, voice=False)
    assert len(bench.got(CallerStarted)) == len(bench.got(CallerStopped)) == 1
    assert bench.words()[-1] == "Fine, I stop."
    assert bench.audio("e:i2") == speech("Fine, I stop.", PCMU_8K)
    assert bench.sent("contextual_update") == []  # it knows
    assert "e:i2" in bench.ended_items
    assert "e:i1" not in bench.ended_items
    assert bench.engine.voiced_us == 0


def test_audio_with_an_older_id_than_the_interruption_is_dropped() -> None:
    bench = interrupted_bench()
    name = next(iter(bench.peers))
    bench.run(0.6, voice=True)
    before = len(bench.got(Speak))
    stale = {"type": "audio", "audio_event": {"audio_base_64": "AAAA", "event_id": 2}}
    bench.tell(LinkSaid(name, msgspec.json.encode(stale).decode()))
    assert len(bench.got(Speak)) == before


def event(kind: str, **data: Any) -> str:
    return msgspec.json.encode({"type": kind, **data}).decode()


def audio(number: int | None, size: int = 160) -> str:
    return event("audio", audio_event={"audio_base_64": b"\x7f" * size, "event_id": number})


def live() -> tuple[Bench, str]:
    bench = Bench(talk(ping_every_us=3600 * S))
    bench.run(0.2)
    return bench, next(iter(bench.peers))


def test_audio_with_the_interruptions_own_id_is_the_replys_when_none_came_before() -> None:
    bench, name = live()
    bench.tell(LinkSaid(name, event("agent_response", agent_response_event={"agent_response": "One two three."})))
    bench.tell(LinkSaid(name, audio(7)))
    bench.tell(LinkSaid(name, event("interruption", interruption_event={"event_id": 9})))
    bench.tell(LinkSaid(name, audio(8)))
    assert len(bench.got(Speak)) == 1
    bench.tell(LinkSaid(name, audio(9)))
    assert [order.item for order in bench.got(Speak)] == ["e:i1", "e:i2"]


def test_audio_with_the_interruptions_own_id_is_stale_until_there_are_new_words() -> None:
    bench, name = live()
    bench.tell(LinkSaid(name, event("agent_response", agent_response_event={"agent_response": "One two three."})))
    bench.tell(LinkSaid(name, audio(9)))
    bench.tell(LinkSaid(name, event("interruption", interruption_event={"event_id": 9})))
    bench.tell(LinkSaid(name, audio(9)))
    assert len(bench.got(Speak)) == 1
    bench.tell(LinkSaid(name, event("agent_response", agent_response_event={"agent_response": "Yes?"})))
    bench.tell(LinkSaid(name, audio(9)))
    assert [order.item for order in bench.got(Speak)] == ["e:i1", "e:i2"]


def test_an_interruption_nobody_hears_of_again_ends_by_itself() -> None:
    bench, name = live()
    bench.tell(LinkSaid(name, event("agent_response", agent_response_event={"agent_response": "One two three."})))
    bench.tell(LinkSaid(name, audio(1, 8000)))
    bench.tell(LinkSaid(name, event("interruption", interruption_event={"event_id": 1})))
    assert bench.engine.voiced_us > 10 * S
    bench.run(1.9)
    assert len(bench.got(CallerStarted)) == 1
    assert not bench.got(CallerStopped)
    bench.run(0.2)
    assert len(bench.got(CallerStopped)) == 1
    assert bench.engine.voiced_us == 0


@pytest.mark.parametrize("answer", ["audio", "agent_response"])
def test_who_is_answered_has_finished(answer: str) -> None:
    """Transcripts may be switched off in the dashboard."""
    bench, name = live()
    bench.tell(LinkSaid(name, event("agent_response", agent_response_event={"agent_response": "One two three."})))
    bench.tell(LinkSaid(name, audio(1, 8000)))
    bench.tell(LinkSaid(name, event("interruption", interruption_event={"event_id": 1})))
    words = event("agent_response", agent_response_event={"agent_response": "Yes?"})
    out = bench.tell(LinkSaid(name, audio(2) if answer == "audio" else words))
    assert [type(order) for order in out][:2] == [SpeechEnded, CallerStopped]
    assert Said("e:i1") not in bench.out  # not all of it was
    assert bench.engine.voiced_us == 0


def test_a_caller_who_is_answered_without_a_transcript_has_finished() -> None:
    bench, name = live()
    bench.run(0.5, voice=True)
    assert len(bench.got(CallerStarted)) == 1
    out = bench.tell(LinkSaid(name, event("agent_response", agent_response_event={"agent_response": "Yes?"})))
    assert [type(order) for order in out] == [CallerStopped, ReplyBegan, Saying]


def test_an_interruption_of_nothing_is_nothing() -> None:
    bench, name = live()
    bench.tell(LinkSaid(name, event("interruption", interruption_event={"event_id": 1})))
    assert not bench.got(CallerStarted)


def test_a_caller_nobody_stops_for_is_heard_by_ourselves() -> None:
    """The agent's dashboard may have the interruption event off, or the vendor may not notice."""
    bench, name = live()
    bench.tell(LinkSaid(name, event("agent_response", agent_response_event={"agent_response": "One two three."})))
    bench.tell(LinkSaid(name, audio(1, 80_000)))
    bench.run(0.9, voice=True)
    assert bench.cut_at < 0
    bench.run(0.3)
    assert bench.cut_at > 0
    bench.tell(LinkSaid(name, audio(2)))
    assert len(bench.got(Speak)) == 1  # of what was cut no more is heard
    assert bench.sent("contextual_update")[0]["text"].endswith("heard only this of it: What was heard")
    bench.tell(LinkSaid(name, event("user_transcript", user_transcription_event={"user_transcript": "But I"})))
    bench.tell(LinkSaid(name, audio(3)))
    assert len(bench.got(Speak)) == 2
    assert bench.engine.voiced_us == 0


def test_a_reply_that_comes_before_our_own_detector_is_sure_is_not_cut() -> None:
    bench = Bench(talk(think_us=50 * MS, heard=("A long question.",), replies=("A long answer, as it happens.",)))
    bench.run(0.1)
    bench.run(3, voice=True)
    name = next(iter(bench.peers))
    bench.run(0.2, voice=False)
    bench.tell(LinkSaid(name, event("user_transcript", user_transcription_event={"user_transcript": "A long"})))
    stopped = bench.got(CallerStopped)
    assert len(stopped) == 1
    assert stopped[0].at == pytest.approx(3.1 * S, abs=60 * MS)
    bench.tell(LinkSaid(name, event("agent_response", agent_response_event={"agent_response": "Yes."})))
    bench.tell(LinkSaid(name, audio(50, 8000)))
    bench.run(0.4)
    assert bench.cut_at < 0
    assert len(bench.got(CallerStopped)) == 1


# --- what is sent at the start ---------------------------------------------------------------------------------------


def test_overrides_are_sent_each_only_when_set() -> None:
    bench = Bench(talk())
    bench.run(0.2)
    assert bench.made[0].initiation == {"type": "conversation_initiation_client_data"}


def test_everything_that_is_set_is_sent() -> None:
    spec = msgspec.structs.replace(SPEC, voice="v1", language="de", user_id="u7", allow_audio_override=True)
    plan = ConvAIPlan(output_format="pcm_16000", input_format="pcm_16000")
    bench = Bench(plan, spec=spec, first='Guten "Tag".', prompt="Be kind.", variables={"name": "Ada"})
    bench.run(2)
    assert bench.made[0].initiation == {
        "type": "conversation_initiation_client_data",
        "conversation_config_override": {
            "agent": {"prompt": {"prompt": "Be kind."}, "first_message": 'Guten "Tag".', "language": "de"},
            "tts": {"voice_id": "v1", "output_format": "ulaw_8000"},
            "asr": {"input_format": "ulaw_8000"},
        },
        "dynamic_variables": {"name": "Ada"},
        "user_id": "u7",
    }
    assert bench.words() == ['Guten "Tag".']
    assert {order.item for order in bench.got(Speak)} == {"first"}
    assert bench.engine.speaks == PCMU_8K


@pytest.mark.parametrize(
    ("field", "switch"), [("prompt", "System prompt"), ("first_message", "First message"), ("voice_id", "Voice")]
)
def test_a_refused_override_names_the_switch(field: str, switch: str) -> None:
    allowed = tuple(name for name in ConvAIPlan().overrides if name != field)
    spec = msgspec.structs.replace(SPEC, voice="v1")
    bench = Bench(ConvAIPlan(overrides=allowed), spec=spec, first="Hi.", prompt="Be kind.")
    bench.run(1)
    (gave_up,) = bench.got(GaveUp)
    assert f"Overrides > {switch}" in gave_up.detail
    assert "Security tab" in gave_up.detail
    assert len(bench.made) == 1
    assert gave_up.say == SPEC.apology


def test_an_override_that_is_ignored_is_told() -> None:
    bench = Bench(ConvAIPlan(overrides=(), ignores_overrides=True), first="Welcome to us.")
    bench.run(2)
    assert [one.code for one in bench.got(ProviderWarned)] == ["override_ignored"]
    assert bench.words() == ["Hello, this is the agent."]


def test_a_missing_dynamic_variable_ends_with_advice() -> None:
    bench = Bench(ConvAIPlan(needs=("name",)))
    bench.run(1)
    assert "variables=" in bench.got(GaveUp)[0].detail
    assert len(bench.made) == 1


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "ELEVENLABS_API_KEY"), (404, "ELEVENLABS_AGENT_ID"), (402, "Subscription"), (422, "refused")],
)
def test_a_refusal_that_would_come_again_is_not_tried_again(status: int, advice: str) -> None:
    bench = Bench(ConvAIPlan(refuse=status))
    bench.run(20)
    assert advice in bench.got(GaveUp)[0].detail
    assert len(bench.made) == 1
    assert bench.engine.deadline is None


def test_too_many_conversations_are_tried_again_and_then_given_up() -> None:
    busy = ConvAIPlan(refuse=429)
    bench = Bench(busy, busy, ConvAIPlan())
    bench.run(3)
    assert bench.words()
    assert not bench.got(GaveUp)
    bench = Bench(busy)
    bench.run(20)
    assert len(bench.made) == 4
    assert "too many conversations" in bench.got(GaveUp)[0].detail


def test_an_agent_that_never_starts_is_given_up_before_the_caller_does() -> None:
    bench = Bench(ConvAIPlan(start_us=3600 * S))
    bench.run(14.9)
    assert len(bench.made) == 3
    assert not bench.got(GaveUp)
    bench.run(0.2)
    assert len(bench.got(GaveUp)) == 1


def test_a_public_agent_and_signed_urls() -> None:
    bench = Bench(ConvAIPlan(key=""), spec=ElevenLabsConvAISpec(agent_id="agent_1"))
    bench.run(2)
    assert bench.words()
    assert bench.got(OpenLink)[0].auth == ""
    url = "wss://signed.test/v1/convai/conversation?conversation_signature=good"
    bench = Bench(ConvAIPlan(signature="good"), spec=ElevenLabsConvAISpec(agent_id="", url=url))
    bench.run(2)
    assert bench.urls == [url]
    assert bench.words()
    bench = Bench(ConvAIPlan(signature="newer"), spec=ElevenLabsConvAISpec(agent_id="", url=url))
    bench.run(2)
    assert "signed_url= a function" in bench.got(GaveUp)[0].detail


def test_a_function_signs_each_conversation_anew() -> None:
    spec = ElevenLabsConvAISpec(agent_id="", signed_url=HandlerSpec("sign", Lane.THREAD))
    bench = Bench(ConvAIPlan(signature="s1", drop_after_us=3 * S), ConvAIPlan(signature="s2"), spec=spec)
    bench.run(2)
    assert bench.got(Run) == [Run("e:convai:1", Lane.THREAD, "sign", ())]
    bench.run(4)
    assert [url[-2:] for url in bench.urls] == ["s1", "s2"]
    assert not bench.got(GaveUp)


@pytest.mark.parametrize("value", [None, 7, "https://x.test/", "wss://x.test/" + "a" * 5000, "wss://x.test/\u00e4"])
def test_what_is_no_signed_url_is_given_up(value: Any) -> None:
    spec = ElevenLabsConvAISpec(agent_id="", signed_url=HandlerSpec("other"))
    bench = Bench(spec=spec)
    bench.tell(TaskReturned("e:convai:1", value))
    assert "signed_url must return" in bench.got(GaveUp)[0].detail
    assert not bench.made


def test_a_function_that_raises_or_hangs_is_tried_again() -> None:
    spec = ElevenLabsConvAISpec(agent_id="", signed_url=HandlerSpec("other"))
    bench = Bench(spec=spec)
    bench.tell(TaskRaised("e:convai:1", Fault.USER, "boom"))
    bench.run(0.3)
    assert [one.name for one in bench.got(Run)] == ["e:convai:1", "e:convai:2"]
    bench.run(5.2)
    assert bench.got(Drop) == [Drop("e:convai:2")]
    bench.run(15)
    assert len(bench.got(GaveUp)) == 1


def test_guards_are_refused_with_a_reason() -> None:
    context = EngineContext("C", "", "", PCMU_8K, "", "", "en", "", guards=(GuardSpec(name="no"),))
    assert "guardrails do not work" in refuses(context)
    assert refuses(msgspec.structs.replace(context, guards=())) == ""
    bench = Bench(guards=(GuardSpec(name="no"),))
    assert [type(order) for order in bench.out] == [GaveUp]


# --- warm ------------------------------------------------------------------------------------------------------------


def test_warm_dials_and_begin_starts_the_conversation() -> None:
    bench = Bench(begin=False)
    bench.take(bench.engine.warm(0))
    bench.run(8)
    assert len(bench.made) == 1
    assert bench.made[0].messages == []
    bench.take(bench.engine.begin(bench.now))
    bench.run(2)
    assert len(bench.made) == 1
    assert bench.words()


def test_a_warm_link_that_is_lost_is_dialled_again() -> None:
    bench = Bench(begin=False)
    bench.take(bench.engine.warm(0))
    bench.tell(LinkClosed("e:convai:1", 1008, "timeout"))
    assert [type(order) for order in bench.out] == [OpenLink]
    bench.take(bench.engine.begin(bench.now))
    bench.run(2)
    assert len(bench.made) == 2
    assert bench.words()


def test_a_call_that_ends_while_warm_leaves_nothing() -> None:
    bench = Bench(begin=False)
    bench.take(bench.engine.warm(0))
    assert bench.tell(Ended()) == [CloseLink("e:convai:1")]
    assert bench.engine.deadline is None


# --- tools and keys --------------------------------------------------------------------------------------------------


def test_a_client_tool_runs_here() -> None:
    plan = talk(heard=("Weather?",), replies=(ConvAITool("weather", {"city": "Oslo"}, "It is"),))
    bench = Bench(plan)
    bench.say(quiet_s=1.5)
    (call,) = bench.got(CallTool)
    assert (call.name, msgspec.json.decode(call.arguments)) == ("weather", {"city": "Oslo"})
    assert not bench.engine.busy  # waiting for a tool is not being about to speak
    bench.tell(ToolAnswered(call.call, '"snowing"'))
    bench.run(2)
    result = {"type": "client_tool_result", "tool_call_id": "tool_0", "result": '"snowing"', "is_error": False}
    assert bench.sent("client_tool_result") == [result]
    assert bench.words() == ['It is "snowing"']
    assert bench.tell(ToolAnswered(call.call, "again")) == []


def test_a_tool_that_failed_says_so_and_too_many_are_refused() -> None:
    bench, name = live()
    for number in range(18):
        data = {"tool_name": "t", "tool_call_id": f"x{number}", "parameters": {}}
        bench.tell(LinkSaid(name, event("client_tool_call", client_tool_call=data)))
        bench.tell(LinkSaid(name, event("client_tool_call", client_tool_call=data)))
    assert len(bench.got(CallTool)) == 16
    assert {one["tool_call_id"] for one in bench.sent("client_tool_result")} == {"x16", "x17"}
    bench.tell(ToolAnswered("e:t1", '{"error":"no"}', error=True))
    assert bench.sent("client_tool_result")[-1]["is_error"] is True


def test_a_result_for_a_conversation_that_is_gone_becomes_context() -> None:
    replies = (ConvAITool("weather"),)
    bench = Bench(talk(heard=("Weather?",), replies=replies, drop_after_us=4 * S), talk())
    bench.say(quiet_s=4)
    assert len(bench.made) == 2
    bench.tell(ToolAnswered(bench.got(CallTool)[0].call, "snow"))
    assert bench.sent("client_tool_result") == []
    assert "weather returned: snow" in bench.sent("contextual_update")[-1]["text"]


def test_keys_are_context_and_a_message() -> None:
    bench = Bench(talk(replies=("You pressed five.",)))
    bench.run(0.5)
    bench.tell(Keyed("[DTMF: 5]"))
    assert bench.got(CallerSaid) == [CallerSaid("[DTMF: 5]")]
    assert "[DTMF: 5]" in bench.sent("contextual_update")[0]["text"]
    assert bench.sent("user_message") == [{"type": "user_message", "text": "[DTMF: 5]"}]
    name = next(iter(bench.peers))
    echo = {"user_transcript": "[DTMF: 5]"}
    bench.tell(LinkSaid(name, event("user_transcript", user_transcription_event=echo)))
    bench.run(2)
    assert len(bench.got(CallerSaid)) == 1
    assert bench.words() == ["You pressed five."]


def test_a_line_to_say_is_not_said_and_waits_for_nobody() -> None:
    bench = Bench(talk())
    assert not bench.engine.says
    assert bench.tell(Say("say:1", "Goodbye."))[-1] == SpeechEnded("say:1")


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_a_drop_becomes_a_new_conversation_that_knows_the_call() -> None:
    first = ConvAIPlan(first_message="Hi.", heard=("I am Ada.",), replies=("Hello Ada.",), drop_after_us=6 * S)
    second = ConvAIPlan(first_message="Hi.", heard=("Still there?",), replies=("Yes, Ada.",))
    bench = Bench(first, second)
    bench.run(1.5)
    bench.say()
    bench.run(2)
    assert [one.code for one in bench.got(ProviderWarned)] == ["lost"]
    assert len(bench.got(Switched)) == 1
    text = bench.sent("contextual_update")[0]["text"]
    assert "You: Hi.\nCaller: I am Ada.\nYou: Hello Ada." in text
    bench.run(2)
    assert bench.words() == ["Hi.", "Hello Ada."]  # it does not greet twice
    bench.say()
    assert bench.words()[-1] == "Yes, Ada."
    assert bench.audio("e:i3") == speech("Yes, Ada.", PCMU_8K)
    bench.tell(Ended())
    used = [one.usage for one in bench.got(Used)]
    assert [one.provider for one in used] == ["elevenlabs_convai"] * 2
    assert used[0].audio_us == 6 * S
    assert 0 < used[1].audio_us < bench.now - 6 * S


def test_where_the_first_message_may_be_overridden_a_new_conversation_is_told_not_to_greet() -> None:
    bench = Bench(ConvAIPlan(drop_after_us=3 * S), ConvAIPlan(), first="Hi.")
    bench.run(6)
    assert bench.made[1].initiation["conversation_config_override"] == {"agent": {"first_message": ""}}


def test_an_answer_that_is_owed_is_asked_for_again() -> None:
    bench = Bench(talk(heard=("What time is it?",), think_us=60 * S, drop_after_us=3 * S), talk(replies=("Noon.",)))
    bench.say(quiet_s=2.5)
    bench.run(3)
    assert bench.sent("user_message") == [{"type": "user_message", "text": "What time is it?"}]
    assert bench.words() == ["Noon."]


def test_a_drop_in_the_middle_of_a_reply_ends_the_item() -> None:
    bench = Bench(
        talk(heard=("Go.",), replies=("A long reply that breaks off in the middle.",), drop_in_reply=0), talk()
    )
    bench.say(quiet_s=3)
    assert "e:i1" in bench.ended_items
    assert len(bench.made) == 2


def test_one_drop_after_another_is_given_up() -> None:
    bench = Bench(talk(drop_after_us=300 * MS))
    bench.run(20)
    assert len(bench.made) == 4
    (gave_up,) = bench.got(GaveUp)
    assert "broke off" in gave_up.detail
    assert gave_up.say


def test_long_conversations_between_drops_start_the_count_anew() -> None:
    bench = Bench(talk(drop_after_us=31 * S))
    bench.run(31.5 * 6)
    assert len(bench.made) >= 6
    assert not bench.got(GaveUp)


def test_the_agents_maximum_duration_is_rolled_over() -> None:
    error = {"code": 1000, "error_type": "max_duration_exceeded", "message": "Max duration"}
    first = talk(heard=("Bye?",), replies=("Wait.",), close_after_reply=0, error=error)
    bench = Bench(first, talk())
    bench.say(quiet_s=4)
    assert len(bench.made) == 2
    assert "maximum duration" in bench.got(ProviderWarned)[0].detail


@pytest.mark.parametrize(
    "close",
    [(1008, "Quota exceeded"), (3000, "Unauthorized"), (1008, "Could not authorize user"), (1008, "Invalid message")],
)
def test_a_close_that_would_come_again_is_final(close: tuple[int, str]) -> None:
    bench = Bench(talk(heard=("Hm?",), replies=("Oh.",), close_after_reply=0, close=close))
    bench.say(quiet_s=4)
    assert close[1] in bench.got(GaveUp)[0].detail
    assert len(bench.made) == 1


def test_an_agent_that_says_goodbye_has_hung_up() -> None:
    plan = talk(heard=("Bye.",), replies=("Goodbye!",), close_after_reply=0)
    bench = Bench(plan, tools=(ToolSpec(name="hang_up", built_in="end_call"),))
    bench.say(quiet_s=3)
    assert bench.got(HungUp) == [HungUp("the ElevenLabs agent ended the conversation")]
    assert not bench.got(GaveUp)
    assert not bench.engine.busy
    assert bench.engine.deadline is None


def test_garbage_is_reported_once_and_in_quantity_ends_the_conversation() -> None:
    bench = Bench(ConvAIPlan(garbage=True))
    bench.run(3)
    assert [one.code for one in bench.got(ProviderWarned)] == ["malformed"]
    assert bench.audio() == speech("Hello, this is the agent.", PCMU_8K)
    name = next(iter(bench.peers))
    for _ in range(100):
        bench.tell(LinkSaid(name, "{"))
    assert [one.code for one in bench.got(ProviderWarned)] == ["malformed", "lost"]


def test_the_vendors_own_warnings_are_passed_on() -> None:
    bench, name = live()
    bench.tell(LinkSaid(name, event("guardrail_triggered")))
    data = {"tool_name": "lookup", "tool_type": "system", "is_error": True}
    bench.tell(LinkSaid(name, event("agent_tool_response", agent_tool_response=data)))
    bench.tell(LinkSaid(name, event("vad_score", vad_score_event={"vad_score": 0.9})))
    bench.tell(LinkSaid(name, event("something_new")))
    assert [one.code for one in bench.got(ProviderWarned)] == ["guardrail", "tool_failed"]


def test_hushed_it_does_not_say_what_it_was_thinking_of() -> None:
    bench = Bench(talk(heard=("Hm?",), replies=("Never heard.",), think_us=S))
    bench.say(quiet_s=1)
    assert bench.engine.busy
    bench.tell(Interrupted("", 0, ""))
    assert not bench.engine.busy
    bench.run(3)
    assert not bench.got(Speak)


def test_the_end_closes_everything_once() -> None:
    bench = Bench()
    bench.run(1)
    out = bench.tell(Ended())
    assert [type(order) for order in out] == [Used, CloseLink]
    assert out[0].usage.audio_us == S - 60 * MS
    assert bench.tell(Ended()) == []
    assert bench.engine.hear(bench.now, VOICE) == []
    assert bench.engine.deadline is None


# --- what it is made of ----------------------------------------------------------------------------------------------


def test_memory_is_what_was_heard() -> None:
    memory = Memory((("user", "Hi."), ("assistant", "Hello.")))
    memory.agent("i1", "One two three four.")
    memory.heard("i1", "One two")
    memory.corrected("One two three four.", "One")
    assert memory.text == "Caller: Hi.\nYou: Hello.\nYou: One two"
    memory.agent("i2", "Five six.")
    memory.corrected("Five six.", "Five")
    assert memory.text.endswith("\nYou: Five")
    assert memory.last_said == ""
    memory.heard("i2", "")
    assert memory.text.endswith("\nYou: One two")
    memory.user("x" * 9000)
    assert memory.text == ""
    assert memory.last_said
    for number in range(1000):
        memory.user(f"line {number}")
    assert len(memory.text) <= 8_000
    assert memory.text.endswith("line 999")


def test_they_are_what_they_are_meant_to_be() -> None:
    context = EngineContext("C", "", "", PCMU_8K, "", "", "en", "")
    engine: Engine = ElevenLabsConvAIEngine(context, SPEC, CallSettings())
    peer: LinkPeer = ConvAIPeer()
    assert (engine.deadline, peer.deadline) == (None, None)


def test_half_a_surrogate_pair_is_sent_as_a_question_mark() -> None:
    assert msgspec.json.decode(wire.user_message("a\ud800")) == {"type": "user_message", "text": "a?"}


def test_audio_messages_are_json_without_a_type() -> None:
    assert msgspec.json.decode(wire.audio_message(b"\xff\x00")) == {"user_audio_chunk": "/wA="}
    assert msgspec.json.decode(wire.pong(7)) == {"type": "pong", "event_id": 7}


FIELDS = st.sampled_from(
    [
        "audio_event",
        "agent_response_event",
        "interruption_event",
        "user_transcription_event",
        "client_tool_call",
        "ping_event",
        "error_event",
        "conversation_initiation_metadata_event",
        "agent_response_correction_event",
    ]
)
VALUES = st.recursive(
    st.none() | st.integers(-5, 20) | st.text(max_size=6) | st.sampled_from(["ulaw_8000", "pcm_44100", "AAAA", "t"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS_OF = st.sampled_from(
    [
        "audio_base_64",
        "event_id",
        "agent_response",
        "user_transcript",
        "tool_name",
        "tool_call_id",
        "parameters",
        "code",
        "agent_output_audio_format",
        "user_input_audio_format",
        "original_agent_response",
        "corrected_agent_response",
    ]
)
KINDS = st.sampled_from(
    [
        "audio",
        "agent_response",
        "interruption",
        "user_transcript",
        "client_tool_call",
        "ping",
        "error",
        "other",
        "tentative_user_transcript",
        "conversation_initiation_metadata",
        "agent_response_correction",
    ]
)
MESSAGES = st.builds(
    lambda kind, field, data: msgspec.json.encode({"type": kind, field: data}).decode(),
    KINDS,
    FIELDS,
    st.dictionaries(KEYS_OF, VALUES, max_size=4),
)
GOOD = st.sampled_from([
    audio(1), audio(9, 161), event("interruption", interruption_event={"event_id": 3}), event("ping", ping_event={}),
    event("agent_response", agent_response_event={"agent_response": "Words."}),
    event("user_transcript", user_transcription_event={"user_transcript": "More."}),
    event("client_tool_call", client_tool_call={"tool_name": "a", "tool_call_id": "b", "parameters": {}}),
    event("conversation_initiation_metadata", conversation_initiation_metadata_event={
        "agent_output_audio_format": "ulaw_8000", "user_input_audio_format": "pcm_16000"}),
    event("error", error_event={"code": 1008, "error_type": "override_error"}),
])  # fmt: skip
NAMES = st.sampled_from(["e:convai:1", "e:convai:2", "e:convai:3", "e:convai:9"])
FACTS = st.one_of(
    st.builds(LinkSaid, NAMES, st.text(max_size=20) | MESSAGES | GOOD),
    st.builds(LinkOpened, NAMES),
    st.builds(
        LinkClosed, NAMES, st.sampled_from([1000, 1006, 1008, 1011]), st.text(max_size=9), st.sampled_from([0, 503])
    ),
    st.builds(Interrupted, st.sampled_from(["", "e:i1", "e:i2"]), st.integers(0, 99), st.text(max_size=5)),
    st.builds(Played, st.sampled_from(["e:i1", "e:i2", "x"])),
    st.builds(ToolAnswered, st.sampled_from(["e:t1", "e:t2"]), st.text(max_size=5)),
    st.builds(Keyed, st.text(max_size=4)),
    st.builds(Say, st.text(max_size=3), st.text(max_size=3)),
    st.builds(TaskReturned, NAMES, VALUES),
    st.sampled_from([Ended(), "hear", "loud", "tick", "wait", "begin", "warm"]),
)


@given(st.lists(FACTS, max_size=60), st.booleans())
def test_random_soup_never_raises_and_time_goes_on(facts: list[Any], signed: bool) -> None:
    spec = ElevenLabsConvAISpec(agent_id="a", signed_url=HandlerSpec("h") if signed else None)
    context = EngineContext("C", "", "", PCMU_8K, "p", "f", "en", "", "e:")
    engine = ElevenLabsConvAIEngine(context, spec, CallSettings())
    now = 0
    out: list[Any] = [*engine.warm(0), *engine.begin(0)]
    for fact in facts:
        now += 7 * MS
        deadline = engine.deadline
        if fact == "wait" and deadline is not None:
            now = deadline
        if fact in ("tick", "wait"):
            out += engine.tick(now)
        elif fact in ("hear", "loud"):
            out += engine.hear(now, Transcoder(PCMU_8K, engine.hears).process(QUIET if fact == "hear" else VOICE))
        elif fact == "begin":
            out += engine.begin(now)
        elif fact == "warm":
            out += engine.warm(now)
        else:
            out += engine.handle(now, fact)
            assert engine.deadline is None or engine.deadline > now
    names = [order.name for order in out if isinstance(order, OpenLink | Run)]
    assert len(names) == len(set(names))
    assert sum(isinstance(order, GaveUp) for order in out) <= 1
    started = [type(order) for order in out if isinstance(order, CallerStarted | CallerStopped)]
    assert started == [CallerStarted, CallerStopped] * (len(started) // 2) + [CallerStarted] * (len(started) % 2)
