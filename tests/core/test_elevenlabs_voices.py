"""ElevenLabs' two voices with their peers, in virtual time: what is spoken, what is stopped, what goes wrong."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.audio.formats import L16_8K, L16_16K, PCMA_8K, PCMU_8K, AudioFormat, Encoding
from patter_core.call.words import (
    CloseLink,
    Drop,
    Fetch,
    FetchEnded,
    FetchFailed,
    FetchGot,
    FetchStarted,
    LinkClosed,
    LinkOpened,
    LinkSaid,
    OpenLink,
    SayOnLink,
)
from patter_core.contract import Fault
from patter_core.engines.engine import ProviderWarned, StageFailed, Switched, Used
from patter_core.engines.stages import Lost, Spoke, Voice, Voiced
from patter_core.engines.usage import Usage
from patter_core.providers.elevenlabs import ElevenLabsVoiceSpec, ElevenLabsWsVoiceSpec
from patter_core.providers.elevenlabs.http_voice import ElevenLabsHttpVoice
from patter_core.providers.elevenlabs.options import VoiceSettings
from patter_core.providers.elevenlabs.ws_voice import ElevenLabsWsVoice
from patter_core.settings import CallSettings
from patter_core.simulator.elevenlabs_peer import speech
from patter_core.simulator.elevenlabs_voice_peer import ElevenLabsSpeechPeer, ElevenLabsSpeechSocketPeer, SpeechPlan
from patter_core.simulator.provider_peer import (
    FetchPeer,
    LinkPeer,
    PeerAnswer,
    PeerBody,
    PeerClose,
    PeerDone,
    PeerDrop,
    PeerRefuse,
    PeerSay,
)

MS, S = 1_000, 1_000_000
HTTP = ElevenLabsVoiceSpec(auth="elevenlabs")
WS = ElevenLabsWsVoiceSpec(auth="elevenlabs")
KEYS = {"elevenlabs": ("xi-api-key", "xi-key"), "wrong": ("xi-api-key", "nonsense")}


class Bench:
    """A voice and its peers: of the n-th exchange, the n-th plan (or the last)."""

    def __init__(
        self,
        *plans: SpeechPlan,
        spec: ElevenLabsVoiceSpec | ElevenLabsWsVoiceSpec = HTTP,
        line: AudioFormat = PCMU_8K,
        begin: bool = True,
    ) -> None:
        self.plans = list(plans) or [SpeechPlan()]
        self.voice: ElevenLabsHttpVoice | ElevenLabsWsVoice
        if isinstance(spec, ElevenLabsVoiceSpec):
            self.voice = ElevenLabsHttpVoice(spec, "v:", line, CallSettings())
        else:
            self.voice = ElevenLabsWsVoice(spec, "v:", line, CallSettings())
        self.now = 0
        self.out: list[Any] = []
        self.at: list[int] = []
        self.peers: dict[str, Any] = {}
        self.made: list[Any] = []
        if begin:
            self.take(self.voice.begin(0))

    def take(self, orders: list[Any]) -> list[Any]:
        for order in orders:
            self.out.append(order)
            self.at.append(self.now)
            plan = self.plans[min(len(self.made), len(self.plans) - 1)]
            match order:
                case Fetch(name, method, url, headers, body, auth):
                    fetch = self.peers[name] = ElevenLabsSpeechPeer(plan)
                    self.made.append(fetch)
                    target = "/" + url.split("/", 3)[3]
                    self.peer_did(name, fetch.asked(self.now, method, target, dict([*headers, KEYS[auth]]), body))
                case OpenLink(name, url, _, auth):
                    link = ElevenLabsSpeechSocketPeer(plan)
                    self.made.append(link)
                    refused = link.opened(self.now, "/" + url.split("/", 3)[3], dict([KEYS[auth]]))
                    if refused and isinstance(refused[0], PeerRefuse):
                        self.tell(LinkClosed(name, 1006, refused[0].body.decode(), refused[0].status))
                    else:
                        self.peers[name] = link
                        self.tell(LinkOpened(name))
                case SayOnLink(name, text) if name in self.peers:
                    self.peer_did(name, self.peers[name].said(self.now, text))
                case Drop(name) | CloseLink(name) if name in self.peers:
                    self.peers.pop(name).closed(self.now)
        deadline = self.voice.deadline
        assert deadline is None or deadline > self.now
        return orders

    def tell(self, fact: Any) -> list[Any]:
        return self.take(self.voice.handle(self.now, fact))

    def peer_did(self, name: str, orders: list[Any]) -> None:
        for order in orders:
            match order:
                case PeerAnswer(status, headers):
                    self.tell(FetchStarted(name, status, {key.lower(): value for key, value in headers}))
                case PeerBody(data):
                    self.tell(FetchGot(name, data))
                case PeerDone():
                    self.peers.pop(name, None)
                    self.tell(FetchEnded(name))
                case PeerSay(text):
                    self.tell(LinkSaid(name, text))
                case PeerClose(code, reason):
                    self.peers.pop(name, None)
                    self.tell(LinkClosed(name, code, reason))
                case PeerDrop():
                    peer = self.peers.pop(name, None)
                    http = isinstance(peer, ElevenLabsSpeechPeer)
                    self.tell(FetchFailed(name, Fault.RESET) if http else LinkClosed(name, 1006))

    def run(self, seconds: float) -> list[Any]:
        start = len(self.out)
        end = self.now + round(seconds * S)
        while True:
            due = [(peer.deadline, 1, name) for name, peer in self.peers.items() if peer.deadline is not None]
            if self.voice.deadline is not None:
                due.append((self.voice.deadline, 0, ""))
            if not due or min(due)[0] > end:
                break
            at, kind, name = min(due)
            self.now = max(self.now, at)
            if kind == 0:
                self.take(self.voice.tick(self.now))
            else:
                self.peer_did(name, self.peers[name].tick(self.now))
        self.now = end
        return self.out[start:]

    def speak(self, text: str, seconds: float = 12) -> list[Any]:
        start = len(self.out)
        self.take(self.voice.speak(self.now, text))
        self.run(seconds)
        return self.out[start:]

    def got(self, kind: type) -> list[Any]:
        return [order for order in self.out if type(order) is kind]

    def audio(self) -> bytes:
        return b"".join(order.audio for order in self.got(Voiced))


BOTH = pytest.mark.parametrize("spec", [HTTP, WS], ids=["http", "ws"])


def with_(spec: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(spec, **fields)


# --- what is spoken --------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("line", "wanted", "name", "format"),
    [
        (PCMU_8K, "auto", "ulaw_8000", PCMU_8K),
        (PCMA_8K, "auto", "alaw_8000", PCMA_8K),
        (L16_16K, "auto", "pcm_16000", L16_16K),
        (L16_8K, "auto", "pcm_8000", L16_8K),
        (PCMU_8K, "pcm_22050", "pcm_22050", AudioFormat(Encoding.L16, 22050)),
        (L16_16K, "ulaw_8000", "ulaw_8000", PCMU_8K),
    ],
)
def test_the_format_is_the_lines_unless_fixed(
    spec: Any, line: AudioFormat, wanted: str, name: str, format: AudioFormat
) -> None:
    bench = Bench(spec=with_(spec, output_format=wanted), line=line)
    bench.speak("Hello there.")
    assert bench.voice.speaks == format
    assert bench.audio() == speech("Hello there.", format)
    query = parse_qs(urlsplit(bench.made[0].target).query)
    assert query["output_format"] == [name]
    assert type(bench.out[-1]) is Spoke


@BOTH
def test_it_streams_and_counts_characters(spec: Any) -> None:
    bench = Bench(SpeechPlan(first_us=100 * MS), spec=spec)
    bench.speak("A sentence.")
    bench.speak("Another one.")
    voiced = [at for order, at in zip(bench.out, bench.at, strict=True) if type(order) is Voiced]
    assert voiced[0] == 100 * MS
    assert len(set(voiced)) > 4
    usage = Usage(stage="tts", provider="elevenlabs", model="eleven_flash_v2_5", characters=11)
    assert bench.got(Used) == [Used(usage), Used(with_(usage, characters=12))]
    assert len(bench.got(Spoke)) == 2
    assert bench.voice.deadline is None


@BOTH
@pytest.mark.parametrize("cut", [1, 7, 333])
def test_samples_are_whole_wherever_the_audio_is_cut(spec: Any, cut: int) -> None:
    bench = Bench(SpeechPlan(cut=cut), spec=spec, line=L16_16K)
    bench.speak("Hi." if cut == 1 else "Hello.", 300)
    assert all(len(order.audio) % 2 == 0 for order in bench.got(Voiced))
    assert bench.audio() == speech("Hi." if cut == 1 else "Hello.", L16_16K)


def test_half_a_sample_is_not_carried_into_the_next_sentence() -> None:
    voice = ElevenLabsHttpVoice(HTTP, "v:", L16_16K, CallSettings())
    voice.speak(0, "One.")
    voice.handle(0, FetchStarted("v:1", 200))
    assert voice.handle(0, FetchGot("v:1", b"abc")) == [Voiced(b"ab")]
    voice.stop(0)
    voice.speak(0, "Two.")
    voice.handle(0, FetchStarted("v:2", 200))
    assert voice.handle(0, FetchGot("v:2", b"xyz!")) == [Voiced(b"xyz!")]


def test_what_is_asked_over_http() -> None:
    spec = with_(HTTP, voice_id="a/b", language="de", voice_settings=VoiceSettings(stability=0.4, speed=1.1))
    bench = Bench(spec=spec)
    bench.speak('Say "hi".')
    (fetch,) = bench.got(Fetch)
    assert fetch.url == "https://api.elevenlabs.io/v1/text-to-speech/a%2Fb/stream?output_format=ulaw_8000"
    assert (fetch.method, fetch.auth) == ("POST", "elevenlabs")
    assert msgspec.json.decode(fetch.body) == {
        "text": 'Say "hi".',
        "model_id": "eleven_flash_v2_5",
        "language_code": "de",
        "voice_settings": {"stability": 0.4, "speed": 1.1},
    }


def test_what_is_said_on_the_websocket() -> None:
    spec = with_(WS, language="de", voice_settings=VoiceSettings(stability=0.4))
    bench = Bench(spec=spec)
    bench.speak("One.")
    bench.speak("Two.")
    (link,) = bench.got(OpenLink)
    parts = urlsplit(link.url)
    assert parts.path == "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM/multi-stream-input"
    query = {key: value for key, (value,) in parse_qs(parts.query).items()}
    assert query["language_code"] == "de"
    assert (query["model_id"], query["auto_mode"]) == ("eleven_flash_v2_5", "true")
    settings = {"stability": 0.4}
    assert bench.made[0].messages == [
        {"text": " ", "context_id": "c1", "voice_settings": settings},
        {"text": "One. ", "context_id": "c1", "flush": True},
        {"context_id": "c1", "close_context": True},
        {"text": " ", "context_id": "c2", "voice_settings": settings},
        {"text": "Two. ", "context_id": "c2", "flush": True},
        {"context_id": "c2", "close_context": True},
    ]


@BOTH
def test_half_a_surrogate_pair_is_spoken_around(spec: Any) -> None:
    bench = Bench(spec=spec)
    bench.speak("Hello \ud83d.")
    assert bench.audio() == speech("Hello ?.", PCMU_8K)


@BOTH
def test_nothing_to_say_is_spoken_at_once(spec: Any) -> None:
    bench = Bench(spec=spec)
    assert bench.take(bench.voice.speak(0, "  ")) == [Spoke()]
    assert bench.voice.deadline is None


def test_they_are_what_they_are_meant_to_be() -> None:
    voices: list[Voice] = [
        ElevenLabsHttpVoice(HTTP, "", PCMU_8K, CallSettings()),
        ElevenLabsWsVoice(WS, "", PCMU_8K, CallSettings()),
    ]
    fetch: FetchPeer = ElevenLabsSpeechPeer()
    link: LinkPeer = ElevenLabsSpeechSocketPeer()
    assert [voice.deadline for voice in voices] == [fetch.deadline, link.deadline]


def test_two_calls_share_nothing() -> None:
    first, second = Bench(), Bench()
    first.take(first.voice.speak(0, "Hello."))
    first.take(first.voice.end(0))
    second.speak("Hello.")
    assert second.audio() == speech("Hello.", PCMU_8K)


# --- stop ------------------------------------------------------------------------------------------------------------


@BOTH
def test_a_stopped_sentence_is_not_heard_of_again(spec: Any) -> None:
    bench = Bench(spec=spec)
    bench.take(bench.voice.speak(0, "A sentence that is stopped in the middle of it all."))
    bench.run(0.3)
    count = len(bench.got(Voiced))
    assert count > 0
    bench.take(bench.voice.stop(bench.now))
    assert bench.voice.deadline is None
    bench.run(5)
    assert len(bench.got(Voiced)) == count
    assert not bench.got(Spoke)
    bench.out.clear()
    bench.speak("Next.")
    assert bench.audio() == speech("Next.", PCMU_8K)


def test_a_stopped_request_is_dropped() -> None:
    bench = Bench()
    bench.take(bench.voice.speak(0, "Hello."))
    assert bench.voice.stop(0) == [Drop("v:1")]
    assert bench.voice.stop(0) == []


def test_more_stopped_sentences_than_a_websocket_may_hold_open_another() -> None:
    bench = Bench(SpeechPlan(first_us=5 * S), spec=WS)
    for number in range(8):
        bench.take(bench.voice.speak(bench.now, f"Sentence {number}."))
        bench.run(0.1)
        bench.take(bench.voice.stop(bench.now))
    assert len(bench.made) == 2
    assert len(bench.made[0].messages) == 15  # five contexts, and nothing it had to refuse
    assert not bench.got(StageFailed)
    assert [type(one) for one in bench.out if type(one) in (CloseLink, Switched)] == [CloseLink, Switched]


def test_a_stopped_sentence_does_not_get_into_the_next_one() -> None:
    bench = Bench(SpeechPlan(cut=1001), spec=WS, line=L16_16K)
    bench.take(bench.voice.speak(0, "A sentence that is stopped in the middle of it all."))
    bench.run(0.22)
    assert len(bench.got(Voiced)) % 2 == 1  # half a sample is waiting
    bench.take(bench.voice.stop(bench.now))
    bench.out.clear()
    bench.speak("Next.")
    assert bench.audio() == speech("Next.", L16_16K)
    assert len(bench.made) == 1


def test_the_end_lets_go_of_everything() -> None:
    http, ws = Bench(), Bench(spec=WS)
    http.take(http.voice.speak(0, "Hello."))
    assert http.take(http.voice.end(0)) == [Drop("v:1")]
    assert ws.take(ws.voice.end(0)) == [CloseLink("v:1")]
    assert http.voice.deadline is ws.voice.deadline is None
    assert http.voice.speak(0, "More?") == [Spoke()]
    assert ws.voice.speak(0, "More?") == [Spoke()]


# --- trouble ---------------------------------------------------------------------------------------------------------

ADVICE = pytest.mark.parametrize(
    ("fields", "plan", "advice"),
    [
        ({"auth": "wrong"}, SpeechPlan(), "ELEVENLABS_API_KEY"),
        ({"voice_id": "nobody"}, SpeechPlan(), "check voice_id"),
        ({}, SpeechPlan(status=402, error={"code": "payment_required", "message": "Upgrade"}), "Subscription"),
        ({}, SpeechPlan(status=401, error={"status": "quota_exceeded", "message": "none left"}), "Subscription"),
        ({}, SpeechPlan(status=400, error={"code": "voice_not_found", "message": "?"}), "check voice_id"),
        ({}, SpeechPlan(status=422, error={"message": "something else"}), "HTTP 422 something else"),
    ],
)


@BOTH
@ADVICE
def test_what_would_fail_again_is_given_up_with_advice(
    spec: Any, fields: dict[str, Any], plan: SpeechPlan, advice: str
) -> None:
    bench = Bench(plan, spec=with_(spec, **fields))
    if spec is HTTP:
        bench.speak("Hello.")
        bench.speak("Hello again.")
    (lost,) = bench.got(Lost)
    assert advice in lost.detail
    assert len(bench.made) == 1
    assert "xi-key" not in lost.detail


def test_too_many_requests_wait_as_long_as_they_are_told() -> None:
    busy = SpeechPlan(status=429, error={"code": "concurrent_limit_exceeded"}, headers=(("Retry-After", "2"),))
    bench = Bench(busy, SpeechPlan(first_us=100 * MS))
    bench.speak("Hello.")
    assert bench.audio() == speech("Hello.", PCMU_8K)
    assert [at for order, at in zip(bench.out, bench.at, strict=True) if type(order) is Fetch] == [0, 2 * S]
    assert not bench.got(StageFailed)


@pytest.mark.parametrize(("retry", "tries"), [("", 3), ("0.2", 3), ("soon", 3), ("6", 2), ("3600", 1)])
def test_too_many_requests_for_too_long_is_a_failure(retry: str, tries: int) -> None:
    bench = Bench(SpeechPlan(status=429, headers=(("Retry-After", retry),)))
    bench.speak("Hello.", 30)
    assert len(bench.made) == tries
    assert "too many requests" in bench.got(StageFailed)[0].detail
    assert bool(bench.got(Lost)) == (retry == "3600")


def test_a_broken_server_is_asked_once_more() -> None:
    bench = Bench(SpeechPlan(status=500), SpeechPlan())
    bench.speak("Hello.")
    assert bench.audio() == speech("Hello.", PCMU_8K)
    bench = Bench(SpeechPlan(status=503, error={"message": "down"}))
    bench.speak("Hello.")
    assert len(bench.made) == 2
    assert bench.got(StageFailed) == [StageFailed("tts", "ElevenLabs refused the request (HTTP 503 down)")]
    assert not bench.got(Lost)
    assert not bench.got(Used)


def test_an_error_that_calls_itself_a_success_is_one() -> None:
    bench = Bench(SpeechPlan(json_success=True), SpeechPlan())
    bench.speak("Hello.")
    assert bench.audio() == speech("Hello.", PCMU_8K)
    assert len(bench.made) == 2


@BOTH
def test_what_breaks_off_before_anything_was_said_is_said_again(spec: Any) -> None:
    bench = Bench(SpeechPlan(drop_after=0), SpeechPlan(), spec=spec)
    bench.speak("Hello.")
    assert bench.audio() == speech("Hello.", PCMU_8K)
    assert len(bench.made) == 2
    assert not bench.got(StageFailed)


@BOTH
def test_what_breaks_off_in_the_middle_is_not_said_twice(spec: Any) -> None:
    bench = Bench(SpeechPlan(drop_after=2), SpeechPlan(), spec=spec)
    bench.speak("A sentence of some length.")
    assert speech("A sentence of some length.", PCMU_8K).startswith(bench.audio())
    assert len(bench.got(StageFailed)) == 1
    assert not bench.got(Spoke)
    bench.out.clear()
    bench.speak("Next.")
    assert bench.audio() == speech("Next.", PCMU_8K)


@BOTH
def test_no_audio_at_all_is_a_failure(spec: Any) -> None:
    bench = Bench(SpeechPlan(empty=True), spec=spec)
    bench.speak("Hello.")
    assert bench.got(StageFailed) == [StageFailed("tts", "ElevenLabs returned no audio for the sentence")]
    assert bench.voice.deadline is None


@BOTH
@pytest.mark.parametrize("after", [0, 2])
def test_no_more_audio_within_its_time_is_a_failure(spec: Any, after: int) -> None:
    bench = Bench(SpeechPlan(stall_after=after, first_us=500 * MS), SpeechPlan(), spec=spec)
    bench.take(bench.voice.speak(0, "A sentence of some length."))
    last = 500 * MS + 30 * MS if after else 0
    bench.run((last + 10 * S) / S - 0.001)
    assert not bench.got(StageFailed)
    bench.run(0.002)
    assert "tts_s" in bench.got(StageFailed)[0].detail
    assert isinstance(bench.out[-1], Drop | CloseLink | StageFailed)
    assert bench.voice.deadline is None
    bench.out.clear()
    bench.speak("Next.")
    assert bench.audio() == speech("Next.", PCMU_8K)


def test_a_websocket_closed_while_idle_is_opened_with_the_next_sentence() -> None:
    bench = Bench(SpeechPlan(idle_us=3 * S), SpeechPlan(), spec=WS)
    bench.speak("One.", 1)
    bench.run(10)
    assert len(bench.made) == 1
    assert not bench.got(StageFailed)
    bench.speak("Two.")
    assert bench.audio() == speech("One.", PCMU_8K) + speech("Two.", PCMU_8K)
    assert [type(one) for one in bench.out].count(Switched) == 1


@pytest.mark.parametrize(
    ("message", "close", "advice"),
    [
        ({"message": "no", "error": "quota_exceeded", "code": 1008}, (1008, "no"), "Subscription"),
        ({}, (1008, "This request requires a paid subscription"), "Subscription"),
        ({"message": "Invalid API key", "error": "invalid_api_key", "code": 1008}, (1008, ""), "ELEVENLABS_API_KEY"),
        ({}, (1008, "A voice with voice_id nobody does not exist"), "check voice_id"),
    ],
)
def test_a_websocket_closed_for_good_is_given_up(message: dict[str, Any], close: tuple[int, str], advice: str) -> None:
    bench = Bench(SpeechPlan(message=message, close=close), spec=WS)
    bench.speak("Hello.")
    assert advice in bench.got(Lost)[0].detail
    assert len(bench.made) == 1


def test_a_websocket_that_is_closed_again_and_again_is_given_up() -> None:
    error = {"message": "busy", "error": "max_active_conversations", "code": 1008}
    bench = Bench(SpeechPlan(message=error, close=(1008, "busy")), spec=WS)
    bench.speak("Hello.")
    assert len(bench.made) == 3
    assert "too many requests" in bench.got(Lost)[0].detail
    assert len(bench.got(Used)) == 1


def test_a_websocket_that_does_not_open_is_given_up() -> None:
    voice = ElevenLabsWsVoice(WS, "v:", PCMU_8K, CallSettings(tts_s=60))
    out: list[Any] = [*voice.begin(0), *voice.speak(0, "Hello.")]
    while voice.deadline is not None:
        out += voice.tick(voice.deadline)
    assert [type(one) for one in out] == [OpenLink, CloseLink] * 3 + [StageFailed, Lost]
    assert len({one.name for one in out if type(one) is OpenLink}) == 3


def test_garbage_is_reported_once_and_in_quantity_ends_the_link() -> None:
    bench = Bench(SpeechPlan(garbage=True), spec=WS)
    bench.speak("Hello there, this is a sentence.")
    assert [one.code for one in bench.got(ProviderWarned)] == ["malformed"]
    assert bench.audio() == speech("Hello there, this is a sentence.", PCMU_8K)
    name = bench.got(OpenLink)[0].name
    for _ in range(100):
        bench.tell(LinkSaid(name, "}"))
    assert bench.got(CloseLink)
    assert len(bench.got(ProviderWarned)) == 1


# --- random soup -----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["v:1", "v:2", "v:3", "v:9"])
TEXTS = st.sampled_from([
    "", "{", "[]", "null", '{"audio":"AAAA","contextId":"c1"}', '{"audio":"AAA=","contextId":"c2"}', '{"audio":"%"}',
    '{"isFinal":true,"contextId":"c1"}', '{"is_final":true}', '{"audio":null,"isFinal":null}', '{"error":"x","code":1}',
    '{"message":"hm"}', '{"audio":7}', '{"contextId":[]}', "\ud800",
])  # fmt: skip
FACTS = st.one_of(
    st.builds(LinkSaid, NAMES, TEXTS),
    st.builds(LinkOpened, NAMES),
    st.builds(LinkClosed, NAMES, st.sampled_from([1000, 1008]), st.text(max_size=9), st.sampled_from([0, 401, 429])),
    st.builds(
        FetchStarted, NAMES, st.sampled_from([200, 200, 400, 429, 500]), st.sampled_from([{}, {"retry-after": "1"}])
    ),
    st.builds(FetchGot, NAMES, st.binary(max_size=9)),
    st.builds(FetchEnded, NAMES),
    st.builds(FetchFailed, NAMES, st.sampled_from(list(Fault))),
    st.sampled_from(["speak", "speak", "stop", "tick", "wait", "end"]),
)


@given(st.lists(FACTS, max_size=60), st.sampled_from([HTTP, WS]))
def test_random_soup_never_raises(facts: list[Any], spec: Any) -> None:
    bench = ElevenLabsHttpVoice if spec is HTTP else ElevenLabsWsVoice
    voice: Any = bench(spec, "v:", L16_16K, CallSettings())
    now = 0
    out: list[Any] = voice.begin(0)
    for fact in facts:
        now += 7 * MS
        if fact == "wait" and voice.deadline is not None:
            now = max(now, voice.deadline)
        if fact in ("tick", "wait"):
            out += voice.tick(now)
            assert voice.deadline is None or voice.deadline > now
        elif fact in ("stop", "end"):
            given_up = voice.stop(now) if fact == "stop" else voice.end(now)
            assert not any(type(order) in (Voiced, Spoke) for order in given_up)
            out += given_up
        elif fact == "speak":
            out += voice.speak(now, "Words.")
        else:
            out += voice.handle(now, fact)
    names = [order.name for order in out if isinstance(order, OpenLink | Fetch)]
    assert len(names) == len(set(names))
    assert all(len(order.audio) % 2 == 0 for order in out if type(order) is Voiced)
    assert sum(type(order) is Lost for order in out) <= 1
