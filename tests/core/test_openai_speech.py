"""OpenAI's transcription and voice against OpenAI's other role: requests as the service wants them (its own library
makes the same ones), each utterance answered once, each sentence ended once, whatever goes wrong.

Messages are carried by hand, in virtual time.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patter_core.audio.formats import L16_16K, L16_24K, PCMU_8K
from patter_core.audio.tones import tone
from patter_core.audio.wav import read_wav, wav_header
from patter_core.call.words import Drop, Fetch, FetchEnded, FetchFailed, FetchGot, FetchStarted
from patter_core.contract import Fault
from patter_core.engines.engine import StageFailed, Used
from patter_core.engines.stages import Lost, Recognised, Spoke, Voiced
from patter_core.errors import ConfigError
from patter_core.providers.keys import Resolving
from patter_core.providers.openai_speech import (
    OpenAITranscribeSTT,
    OpenAITTS,
    OpenAIVoice,
    OpenAIVoiceSpec,
    TranscribeEar,
    TranscribeSpec,
    WhisperSTT,
)
from patter_core.providers.openai_speech.multipart import multipart
from patter_core.providers.openai_speech.trouble import refused
from patter_core.settings import CallSettings
from patter_core.simulator.openai_speech_peer import OpenAISpeech, OpenAISpeechFault, OpenAISpeechPeer, _form
from patter_core.simulator.provider_peer import PeerAnswer, PeerBody, PeerDone, PeerDrop, PeerOrder

S, MS = 1_000_000, 1_000
SECOND = tone(300, 1000, 16_000)
Faulty = OpenAISpeechFault


class Bench:
    """A stage, the service, and what became of it all."""

    def __init__(self, stage: TranscribeEar | OpenAIVoice, account: OpenAISpeech) -> None:
        self.stage = stage
        self.account = account
        self.now = 0
        self.peers: dict[str, OpenAISpeechPeer] = {}
        self.out: list[Any] = []
        self.at: list[int] = []
        self.lost = False
        self.take(stage.begin(0))

    def take(self, orders: list[Any]) -> None:
        for order in orders:
            assert not self.lost, "nothing follows Lost"
            self.lost = isinstance(order, Lost)
            self.out.append(order)
            self.at.append(self.now)
            if isinstance(order, Fetch):
                path = order.url.removeprefix("https://api.openai.com")
                headers = {**dict(order.headers), "Authorization": f"Bearer {order.auth}"}
                peer = self.peers[order.name] = self.account.fetch()
                self.peer_said(order.name, peer.asked(self.now, order.method, path, headers, order.body))
            elif isinstance(order, Drop):
                self.peers.pop(order.name).closed(self.now)
        deadline = self.stage.deadline
        assert deadline is None or deadline > self.now

    def peer_said(self, name: str, orders: list[PeerOrder]) -> None:
        for order in orders:
            match order:
                case PeerAnswer(status, headers):
                    lower = {key.lower(): value for key, value in headers}
                    self.take(self.stage.handle(self.now, FetchStarted(name, status, lower)))
                case PeerBody(data):
                    self.take(self.stage.handle(self.now, FetchGot(name, data)))
                case PeerDone():
                    self.take(self.stage.handle(self.now, FetchEnded(name)))
                case PeerDrop():
                    self.take(self.stage.handle(self.now, FetchFailed(name, Fault.RESET)))

    def run(self, us: int) -> None:
        until = self.now + us
        while True:
            mine = self.stage.deadline
            times = [at for peer in self.peers.values() if (at := peer.deadline) is not None]
            first = min([*times, *([mine] if mine is not None else [])], default=None)
            if first is None or first > until:
                break
            self.now = max(self.now, first)
            if mine is not None and mine <= self.now:
                self.take(self.stage.tick(self.now))
            else:
                for name, peer in list(self.peers.items()):
                    if peer.deadline is not None and peer.deadline <= self.now:
                        self.peer_said(name, peer.tick(self.now))
        self.now = until

    def told(self, *kinds: type) -> list[Any]:
        return [order for order in self.out if isinstance(order, kinds)]


def ear(
    texts: tuple[str, ...] = (), *faults: OpenAISpeechFault, spec: dict[str, Any] | None = None, language: str = "en",
    **bounds: Any,
) -> Bench:  # fmt: skip
    spec_ = TranscribeSpec(auth="key", **(spec or {}))
    return Bench(TranscribeEar(spec_, "stt:", CallSettings(**bounds), language), OpenAISpeech(texts, faults, key="key"))


def voice(*faults: OpenAISpeechFault, spec: dict[str, Any] | None = None, key: str = "key", **bounds: Any) -> Bench:
    spec_ = OpenAIVoiceSpec(auth=key, **(spec or {}))
    return Bench(OpenAIVoice(spec_, "tts:", PCMU_8K, CallSettings(**bounds)), OpenAISpeech((), faults, key="key"))


def utter(bench: Bench, *stopped: int, audio: bytes = SECOND) -> None:
    for at in stopped:
        assert isinstance(bench.stage, TranscribeEar)
        bench.take(bench.stage.utterance(bench.now, at, audio))


def speak(bench: Bench, text: str = "Good morning.", us: int = 20 * S) -> None:
    assert isinstance(bench.stage, OpenAIVoice)
    bench.take(bench.stage.speak(bench.now, text))
    bench.run(us)


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", [OpenAITranscribeSTT, WhisperSTT, OpenAITTS])
def test_the_key_is_put_away_under_a_name_and_never_shown(option: Any) -> None:
    resolving = Resolving({})
    written = option(api_key="very-secret")
    spec = written.resolve(resolving)
    assert resolving.secrets == {"openai": ("Authorization", "Bearer very-secret")}
    assert spec.auth == "openai"
    assert "secret" not in repr(written) + repr(spec)
    missing = Resolving({})
    option().resolve(missing)
    assert missing.missing == ["OPENAI_API_KEY"]
    assert option().resolve(Resolving({"OPENAI_API_KEY": "from-there"})).auth == "openai"


def test_what_is_written_is_what_is_asked() -> None:
    resolving = Resolving({"OPENAI_API_KEY": "k"})
    whisper = WhisperSTT(language="pt-BR", prompt=" Patter ", base_url="http://127.0.0.1:8000/v1/").resolve(resolving)
    assert (whisper.provider, whisper.model, whisper.prompt) == ("whisper", "whisper-1", "Patter")
    assert whisper.base_url == "http://127.0.0.1:8000/v1"
    assert OpenAITranscribeSTT().resolve(resolving).provider == "openai_transcribe"
    spoken = OpenAITTS(voice="coral", speed=1.25, instructions="Calmly.").resolve(resolving)
    assert (spoken.voice, spoken.speed, spoken.instructions) == ("coral", 1.25, "Calmly.")


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        (OpenAITranscribeSTT(model=""), "model"),
        (OpenAITranscribeSTT(language=5), "language"),  # type: ignore[arg-type]
        (OpenAITranscribeSTT(prompt="x" * 5000), "prompt"),
        (WhisperSTT(temperature=2), "temperature"),
        (WhisperSTT(temperature=float("nan")), "temperature"),
        (WhisperSTT(base_url="api.openai.com"), "base_url"),
        (OpenAITTS(voice=" "), "voice"),
        (OpenAITTS(speed=5), "speed"),
        (OpenAITTS(speed=True), "speed"),
        (OpenAITTS(model="tts-1", instructions="Calmly."), "gpt-4o-mini-tts"),
        (OpenAITTS(api_key="with a space"), "api_key"),
    ],
)
def test_bad_options_are_refused_with_advice(option: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        option.resolve(Resolving({"OPENAI_API_KEY": "k"}))


# --- the form --------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(["model", "prompt"]), st.text()), max_size=3), st.binary(max_size=300))
def test_a_form_is_read_back_as_it_was_written(fields: list[tuple[str, str]], data: bytes) -> None:
    kind, body = multipart(fields, "file", "utterance.wav", "audio/wav", data)
    boundary = kind.partition("boundary=")[2].encode()
    head, *parts, tail = body.split(b"--" + boundary)
    assert (head, tail) == (b"", b"--\r\n")
    contents = [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts]
    assert contents == [*(value.encode("utf-8", "replace") for _, value in fields), data]
    assert multipart(fields, "file", "utterance.wav", "audio/wav", data) == (kind, body)


def test_a_boundary_does_not_occur_in_what_it_bounds() -> None:
    kind, _ = multipart([], "file", "a.wav", "audio/wav", b"data")
    boundary = kind.partition("boundary=")[2]
    kind, body = multipart([("prompt", boundary)], "file", "a.wav", "audio/wav", b"data")
    assert body.count(kind.partition("boundary=")[2].encode()) == 3


# --- what OpenAI's own library sends --------------------------------------------------------------------------------


def official(call: Any, answer: httpx.Response) -> httpx.Request:
    """The request that OpenAI's library makes; nothing is sent anywhere."""
    openai = pytest.importorskip("openai")
    seen: list[httpx.Request] = []

    def transport(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        return answer

    with httpx.Client(transport=httpx.MockTransport(transport)) as http:
        call(openai.OpenAI(api_key="key", http_client=http))
    return seen[0]


def test_a_transcription_is_asked_for_as_the_official_library_does() -> None:
    bench = ear(("Hello.",), spec={"prompt": "Pätter", "temperature": 0.2}, language="en-US")
    utter(bench, 5)
    [ours] = bench.told(Fetch)
    wav = wav_header(16_000, 1, len(SECOND)) + SECOND
    theirs = official(
        lambda client: client.audio.transcriptions.create(
            file=("utterance.wav", wav, "audio/wav"), model="gpt-4o-mini-transcribe", response_format="json",
            language="en", prompt="Pätter", temperature=0.2,
        ),
        httpx.Response(200, json={"text": "x"}),
    )  # fmt: skip
    assert (ours.method, ours.url) == (theirs.method, str(theirs.url))
    kind = dict(ours.headers)["Content-Type"]
    assert _form(kind, ours.body) == _form(theirs.headers["content-type"], theirs.content)
    assert ours.auth == "key"


def test_speech_is_asked_for_as_the_official_library_does() -> None:
    bench = voice(spec={"instructions": "Calmly.", "speed": 1.5, "voice": "coral"})
    speak(bench, 'He said "bye".', us=0)
    [ours] = bench.told(Fetch)
    theirs = official(
        lambda client: client.audio.speech.create(
            model="gpt-4o-mini-tts", input='He said "bye".', voice="coral", response_format="pcm",
            instructions="Calmly.", speed=1.5,
        ),
        httpx.Response(200, content=b"\0\0"),
    )  # fmt: skip
    assert (ours.method, ours.url) == (theirs.method, str(theirs.url))
    assert json.loads(ours.body) == json.loads(theirs.content)
    assert dict(ours.headers)["Content-Type"] == theirs.headers["content-type"]


def test_optional_fields_are_left_out() -> None:
    bench = ear(("Hello.",), language="")
    utter(bench, 5)
    bench.run(S)
    assert bench.account.forms == [{"model": "gpt-4o-mini-transcribe", "response_format": "json"}]
    talking = voice()
    speak(talking)
    expected = {"model": "gpt-4o-mini-tts", "input": "Good morning.", "voice": "alloy", "response_format": "pcm"}
    assert talking.account.spoken == [expected]


# --- the ear ---------------------------------------------------------------------------------------------------------


def test_an_utterance_becomes_its_text() -> None:
    bench = ear((" I would like a table. ",))
    assert bench.stage.hears == L16_16K  # type: ignore[union-attr]
    utter(bench, 77)
    bench.run(S)
    assert bench.told(Recognised, StageFailed) == [Recognised("I would like a table.", 77)]
    [wav] = bench.account.heard
    assert (wav.rate, wav.channels, wav.pcm) == (16_000, 1, SECOND)
    [used] = bench.told(Used)
    usage = used.usage
    assert (usage.stage, usage.provider, usage.model, usage.audio_us) == (
        "stt", "openai_transcribe", "gpt-4o-mini-transcribe", S,
    )  # fmt: skip
    assert bench.stage.deadline is None


def test_utterances_are_answered_in_order_one_at_a_time() -> None:
    bench = ear(("one", "two", "three"), Faulty(latency_s=2))
    utter(bench, 1, 2, 3)
    bench.run(S)
    assert len(bench.told(Fetch)) == 1
    bench.run(5 * S)
    assert bench.told(Recognised) == [Recognised("one", 1), Recognised("two", 2), Recognised("three", 3)]


@pytest.mark.parametrize("text", ["Bye bye.", "Thank you.", "music", "yes", "The end.", "Thanks for watching!"])
def test_no_words_are_taken_for_inventions(text: str) -> None:
    bench = ear((text, text))
    utter(bench, 1, 2)
    bench.run(5 * S)
    assert [order.text for order in bench.told(Recognised)] == [text, text]


def test_nobody_spoke() -> None:
    bench = ear(("",))
    utter(bench, 1)
    bench.run(S)
    assert bench.told(Recognised, StageFailed) == [Recognised("", 1)]


def test_less_than_the_service_takes_is_nobody() -> None:
    bench = ear()
    utter(bench, 1, audio=SECOND[:3_198])
    utter(bench, 2, audio=b"")
    utter(bench, 3, audio=b"x")
    assert bench.told(Recognised) == [Recognised("", 1), Recognised("", 2), Recognised("", 3)]
    assert not bench.told(Fetch)


def test_half_a_sample_is_not_sent() -> None:
    bench = ear(("Hello.",))
    utter(bench, 1, audio=SECOND + b"x")
    bench.run(S)
    assert bench.account.heard[0].pcm == SECOND


def test_when_it_is_too_slow_the_oldest_waiting_is_given_up() -> None:
    bench = ear(("first", "third", "fourth"), Faulty(latency_s=3), utterance_s=2)
    utter(bench, 1, 2, 3, 4)
    assert bench.told(Recognised, StageFailed)[1:] == [Recognised("", 2)]
    assert "too slow" in bench.told(StageFailed)[0].detail
    bench.run(6 * S)
    assert bench.told(Recognised)[1:] == [Recognised("first", 1), Recognised("third", 3), Recognised("fourth", 4)]


def test_an_utterance_as_long_as_any_is_sent() -> None:
    bench = ear(("long",), utterance_s=2)
    utter(bench, 1, audio=SECOND * 3)
    bench.run(S)
    assert bench.told(Recognised, StageFailed) == [Recognised("long", 1)]


@pytest.mark.parametrize(
    "fault",
    [Faulty(status=429), Faulty(status=500), Faulty(status=503), Faulty(drop=True), Faulty(drop_after=0, piece=9)],
)
def test_what_may_pass_is_tried_once_more(fault: OpenAISpeechFault) -> None:
    bench = ear(("Hello.",), fault)
    utter(bench, 1)
    bench.run(5 * S)
    assert bench.told(Recognised, StageFailed) == [Recognised("Hello.", 1)]
    first, second = bench.told(Fetch)
    assert first.body == second.body
    assert first.name != second.name


def test_twice_is_enough() -> None:
    bench = ear(("Hello.",), *[Faulty(status=500)] * 2)
    utter(bench, 1, 2)
    bench.run(10 * S)
    failed, empty, hello = bench.told(Recognised, StageFailed)
    assert "500" in failed.detail
    assert (failed.stage, empty, hello) == ("stt", Recognised("", 1), Recognised("Hello.", 2))


def test_how_long_to_wait_is_theirs_to_say_and_bounded_by_the_callers_patience() -> None:
    bench = ear(("Hello.",), Faulty(status=429, retry_after="3"))
    utter(bench, 1)
    bench.run(10 * S)
    first, second = (at for at, order in zip(bench.at, bench.out, strict=True) if isinstance(order, Fetch))
    assert second - first == 3 * S + 170 * MS  # the answer took 150, its body another 20
    late = ear(("Hello.",), Faulty(status=429, retry_after="60"), stt_s=5)
    utter(late, 1)
    late.run(S)
    assert [type(order) for order in late.told(Recognised, StageFailed)] == [StageFailed, Recognised]


def test_an_answer_that_is_late_is_given_up() -> None:
    bench = ear(("one", "two"), Faulty(latency_s=100), stt_s=4)
    utter(bench, 1, 2)
    bench.run(3999 * MS)
    assert not bench.told(StageFailed)
    bench.run(3 * S)
    assert bench.told(Drop) == [Drop("stt:1")]
    assert bench.told(Recognised) == [Recognised("", 1), Recognised("two", 2)]
    assert "stt_s 4" in bench.told(StageFailed)[0].detail


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (Faulty(status=401), "OPENAI_API_KEY"),
        (Faulty(status=403), "gpt-4o-mini-transcribe"),
        (Faulty(status=404), "base_url"),
        (Faulty(status=429, code="insufficient_quota"), "billing"),
    ],
)
def test_what_will_not_change_is_lost_at_once_with_advice(fault: OpenAISpeechFault, advice: str) -> None:
    bench = ear(("x",), fault)
    utter(bench, 1, 2)
    bench.run(60 * S)
    assert len(bench.told(Fetch)) == 1
    [lost] = bench.told(Lost)
    assert advice in lost.detail
    assert bench.out[-1] is lost
    assert bench.stage.deadline is None
    utter(bench, 3)
    assert bench.out[-1] is lost


def test_a_key_is_not_quoted_from_a_refusal() -> None:
    body = b'{"error":{"message":"Incorrect API key provided: sk-abcd.","code":"invalid_api_key"}}'
    assert "sk-" not in refused(401, {}, body, "m", "u").detail


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b'{"error":7}', b'{"error":{"message":[]}}', b"[" * 4000, b"\xff"])
def test_an_error_in_any_shape_is_told(body: bytes) -> None:
    trouble = refused(500, {"retry-after": "nan"}, body, "m", "u")
    assert "500" in trouble.detail
    assert trouble.passing
    assert trouble.wait_s == 0.5


def test_three_utterances_in_a_row_that_came_to_nothing_are_enough() -> None:
    bench = ear((), *[Faulty(malformed=True)] * 9)
    utter(bench, 1, 2, 3, 4)
    bench.run(60 * S)
    assert bench.told(Recognised) == [Recognised("", 1), Recognised("", 2)]
    assert len(bench.told(Lost)) == 1
    assert len(bench.told(Used)) == 3  # it was recognised, and is billed


def test_one_that_works_begins_the_count_anew() -> None:
    bad, good = Faulty(malformed=True), Faulty()
    bench = ear(("a", "b", "c", "d", "e", "f"), bad, bad, good, bad, bad, good)
    utter(bench, 1, 2, 3, 4, 5, 6)
    bench.run(60 * S)
    assert not bench.told(Lost)
    assert len(bench.told(Recognised)) == 6


def test_the_end_lets_go_of_the_request() -> None:
    bench = ear(("x",))
    utter(bench, 1, 2)
    bench.take(bench.stage.end(bench.now))
    assert bench.told(Drop) == [Drop("stt:1")]
    bench.take(bench.stage.handle(bench.now, FetchEnded("stt:1")))
    utter(bench, 3)
    bench.run(60 * S)
    assert not bench.told(Recognised)


# --- the voice -------------------------------------------------------------------------------------------------------


def spoken(bench: Bench) -> bytes:
    return b"".join(order.audio for order in bench.told(Voiced))


@pytest.mark.parametrize("piece", [1, 2, 3, 4_801, 1_000_000])
def test_a_sentence_is_spoken_whole_however_its_body_is_cut(piece: int) -> None:
    bench = voice(Faulty(piece=piece))
    assert bench.stage.speaks == L16_24K  # type: ignore[union-attr]
    speak(bench, "Hi.", us=200 * S)
    assert spoken(bench) == tone(220, 180, 24_000)
    assert all(len(order.audio) % 2 == 0 for order in bench.told(Voiced))
    assert bench.told(Voiced, Spoke, StageFailed)[-1] == Spoke()
    [used] = bench.told(Used)
    assert (used.usage.stage, used.usage.provider, used.usage.model, used.usage.characters) == (
        "tts", "openai_tts", "gpt-4o-mini-tts", 3,
    )  # fmt: skip
    assert bench.stage.deadline is None


def test_audio_is_passed_on_as_it_comes() -> None:
    bench = voice()
    speak(bench, "A longer sentence, to be sure.", us=200 * MS)
    early = len(bench.told(Voiced))
    assert early > 0
    assert not bench.told(Spoke)
    bench.run(5 * S)
    assert len(bench.told(Voiced)) > early
    assert len(bench.told(Spoke)) == 1


def test_sentence_after_sentence() -> None:
    bench = voice()
    speak(bench)
    speak(bench)
    assert [order.name for order in bench.told(Fetch)] == ["tts:1", "tts:2"]
    assert len(bench.told(Spoke)) == 2


def test_half_a_sample_at_the_end_of_a_sentence_is_not_the_beginning_of_the_next() -> None:
    bench = voice()
    speak(bench, us=0)
    bench.peers.clear()
    for name in ("tts:1", "tts:2"):
        bench.take(bench.stage.handle(0, FetchStarted(name, 200, {"content-type": "audio/pcm"})))
        bench.take(bench.stage.handle(0, FetchGot(name, b"\x01\x02\x03")))
        bench.take(bench.stage.handle(0, FetchEnded(name)))
        speak(bench, us=0)
    assert spoken(bench) == b"\x01\x02" * 2


def test_stopped_is_stopped() -> None:
    bench = voice()
    speak(bench, "A longer sentence, to be sure.", us=200 * MS)
    before = list(bench.told(Voiced))
    bench.take(bench.stage.stop(bench.now))  # type: ignore[union-attr]
    assert bench.told(Drop) == [Drop("tts:1")]
    bench.take(bench.stage.handle(bench.now, FetchGot("tts:1", b"\0\0")))
    bench.take(bench.stage.handle(bench.now, FetchEnded("tts:1")))
    assert bench.told(Voiced) == before
    assert not bench.told(Spoke)
    assert bench.stage.deadline is None
    speak(bench)
    assert len(bench.told(Spoke)) == 1


def test_nothing_to_say_is_said_at_once() -> None:
    bench = voice()
    speak(bench, "  ")
    assert bench.out == [Spoke()]


@pytest.mark.parametrize(
    "fault",
    [
        Faulty(status=429), Faulty(status=500), Faulty(drop=True), Faulty(drop_after=0), Faulty(empty=True),
        Faulty(malformed=True), Faulty(drop_after=1, piece=1),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_once_more_while_nothing_was_heard(fault: OpenAISpeechFault) -> None:
    bench = voice(fault)
    speak(bench)
    assert not bench.told(StageFailed)
    assert spoken(bench) == tone(220, 780, 24_000)
    assert len(bench.told(Spoke)) == 1
    assert len(bench.told(Fetch)) == 2


def test_a_sentence_that_breaks_off_is_not_begun_again() -> None:
    bench = voice(Faulty(drop_after=3))
    speak(bench)
    assert len(bench.told(Fetch)) == 1
    assert len(spoken(bench)) == 3 * 4_801 // 2 * 2
    assert [type(order) for order in bench.told(StageFailed, Spoke)] == [StageFailed, Spoke]


def test_a_voice_that_stalls_is_given_up() -> None:
    bench = voice(Faulty(stall_after=2), tts_s=2)
    speak(bench, us=2 * S)
    assert not bench.told(StageFailed)
    bench.run(S)
    assert "tts_s (2)" in bench.told(StageFailed)[0].detail
    assert bench.told(Drop) == [Drop("tts:1")]
    assert bench.told(Spoke) == [Spoke()]


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (Faulty(status=401), "OPENAI_API_KEY"),
        (Faulty(status=403), "gpt-4o-mini-tts"),
        (Faulty(status=404), "base_url"),
        (Faulty(status=429, code="insufficient_quota"), "billing"),
    ],
)
def test_a_voice_that_will_not_get_better_is_lost_at_once(fault: OpenAISpeechFault, advice: str) -> None:
    bench = voice(fault)
    speak(bench)
    assert len(bench.told(Fetch)) == 1
    assert advice in bench.told(Lost)[0].detail
    assert not bench.told(Spoke)
    assert bench.stage.deadline is None


def test_a_wrong_voice_is_told_in_the_services_words_and_lost_in_the_end() -> None:
    bench = voice(spec={"voice": "nobody"})
    for _ in range(3):
        speak(bench)
    assert len(bench.told(Fetch)) == 3  # such a thing is not tried twice
    assert "alloy" in bench.told(StageFailed)[0].detail
    assert len(bench.told(StageFailed)) == len(bench.told(Spoke)) == 2
    assert len(bench.told(Lost)) == 1


def test_a_key_that_is_wrong_is_refused_by_the_service() -> None:
    bench = voice(key="another")
    speak(bench)
    assert "401" in bench.told(Lost)[0].detail


def test_the_longest_sentence_fits_into_an_answer() -> None:
    bench = voice(sentence_s=60)
    speak(bench, us=0)
    assert bench.told(Fetch)[0].max_body > 60 * 48_000


def test_ended_is_ended() -> None:
    bench = voice()
    speak(bench, us=0)
    bench.take(bench.stage.end(0))
    assert bench.told(Drop) == [Drop("tts:1")]
    assert bench.stage.deadline is None


# --- anything at all -------------------------------------------------------------------------------------------------

FACTS = st.one_of(
    st.builds(
        FetchStarted,
        st.just(""),
        st.sampled_from([200, 201, 302, 400, 401, 429, 500, 503]),
        st.dictionaries(
            st.sampled_from(["content-type", "retry-after"]),
            st.sampled_from(["application/json", "audio/pcm", "1", "x"]),
        ),
    ),
    st.builds(
        FetchGot,
        st.just(""),
        st.one_of(st.binary(max_size=9), st.sampled_from([b'{"text":"hi"}', b'{"text":3}', b'{"error":{"code":1}}'])),
    ),
    st.builds(FetchEnded, st.just("")),
    st.builds(FetchFailed, st.just(""), st.sampled_from(list(Fault))),
)
SOUP = st.lists(
    st.one_of(
        FACTS,
        st.tuples(st.just("work"), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.sampled_from([1, 600 * MS, 4 * S, 20 * S])),
        st.tuples(st.just("stop"), st.just(0)),
    ),
    max_size=60,
)


def stir(stage: Any, soup: list[Any], work: Any) -> list[Any]:
    """Whatever comes, in whatever order, about the latest request; then time passes until all is quiet."""
    now, out, name = 0, list(stage.begin(0)), "none"

    def take(orders: list[Any]) -> None:
        nonlocal name
        out.extend(orders)
        name = next((order.name for order in reversed(out) if isinstance(order, Fetch)), name)
        assert stage.deadline is None or stage.deadline > now

    for what in [*soup, ("wait", 60 * S), ("wait", 60 * S)]:
        if not isinstance(what, tuple):
            take(stage.handle(now, type(what)(name, *[getattr(what, f) for f in what.__struct_fields__[1:]])))
        elif what[0] == "work":
            take(work(now, what[1]))
        elif what[0] == "stop" and isinstance(stage, OpenAIVoice):
            take(stage.stop(now))
        elif what[0] == "wait":
            until = now + what[1]
            while stage.deadline is not None and stage.deadline <= until:
                now = stage.deadline
                take(stage.tick(now))
            now = until
    assert stage.deadline is None
    told = [order for order in out if order != "begins"]
    lost = [order for order in told if isinstance(order, Lost)]
    assert len(lost) <= 1
    if lost:
        assert told[-1] is lost[0]
    return out


@settings(max_examples=300, deadline=None)
@given(SOUP)
def test_any_soup_is_taken_by_the_ear_and_every_utterance_answered(soup: list[Any]) -> None:
    stage = TranscribeEar(TranscribeSpec(auth="a"), "p", CallSettings(utterance_s=3))
    owed: list[int] = []

    def work(now: int, seconds: int) -> list[Any]:
        if not lost:
            owed.append(len(owed))
        orders = stage.utterance(now, len(owed) - 1, SECOND * seconds)
        lost.extend(order for order in orders if isinstance(order, Lost))
        return orders

    lost: list[Any] = []
    out = stir(stage, [*soup], work)
    answered = [order.stopped for order in out if isinstance(order, Recognised)]
    assert len(answered) == len(set(answered))
    if not any(isinstance(order, Lost) for order in out):
        assert sorted(answered) == owed


@settings(max_examples=300, deadline=None)
@given(SOUP)
def test_any_soup_is_taken_by_the_voice_and_every_sentence_ended(soup: list[Any]) -> None:
    stage = OpenAIVoice(OpenAIVoiceSpec(auth="a"), "p", PCMU_8K, CallSettings(tts_s=5))
    begun = 0

    def work(now: int, _: int) -> list[Any]:
        nonlocal begun
        begun += 1
        return ["begins", *stage.speak(now, f"sentence {begun}")]

    out = stir(stage, [step for step in soup if step != ("stop", 0)], work)
    assert all(len(order.audio) % 2 == 0 and order.audio for order in out if isinstance(order, Voiced))
    assert sum(isinstance(order, Spoke) for order in out) <= begun
    if begun and not any(isinstance(order, Lost) for order in out):
        last = max(at for at, order in enumerate(out) if order == "begins")
        assert sum(isinstance(order, Spoke) for order in out[last:]) == 1


def test_a_peers_answers_are_read_by_the_official_library() -> None:
    """So that the other role says what the real one says."""
    openai = pytest.importorskip("openai")
    account = OpenAISpeech(("Hello.",), (Faulty(), Faulty(status=429, code="insufficient_quota")), key="key")

    def transport(request: httpx.Request) -> httpx.Response:
        request.read()
        peer = account.fetch()
        target, headers = request.url.raw_path.decode(), dict(request.headers)
        orders, now = peer.asked(0, request.method, target, headers, request.content), 0
        while peer.deadline is not None:
            now = peer.deadline
            orders += peer.tick(now)
        [head] = [order for order in orders if isinstance(order, PeerAnswer)]
        body = b"".join(order.data for order in orders if isinstance(order, PeerBody))
        return httpx.Response(head.status, headers=list(head.headers), content=body)

    wav = wav_header(16_000, 1, len(SECOND)) + SECOND
    with httpx.Client(transport=httpx.MockTransport(transport)) as http:
        client = openai.OpenAI(api_key="key", http_client=http, max_retries=0)
        written = client.audio.transcriptions.create(file=("a.wav", wav), model="whisper-1", language="en")
        assert written.text == "Hello."
        with pytest.raises(openai.RateLimitError, match="quota"):
            client.audio.transcriptions.create(file=("a.wav", wav), model="whisper-1")
        speech = client.audio.speech.create(model="tts-1", voice="nova", input="Hi.", response_format="pcm")
        assert speech.content == tone(220, 180, 24_000)
        with pytest.raises(openai.BadRequestError, match="alloy"):
            client.audio.speech.create(model="tts-1", voice="x", input="Hi.", response_format="pcm", speed=9)
    assert read_wav(wav).pcm == account.heard[0].pcm
