"""Deepgram's end of its live transcription, by script: the n-th utterance it hears says the n-th text.

An energy detector finds the utterances in the audio it really gets, so what is lost on the way is missing here, too.
A ``Deepgram`` is the service; each connection to it is a ``DeepgramPeer``. An utterance counts as said once its words
were sent as final: one that was cut off by a lost connection is recognised again when its audio comes again.

What it does when, from the pages named in ``providers/deepgram/wire.py``: interim results while somebody speaks and,
empty, while nobody does; ``speech_final`` after ``endpointing`` of silence; nothing in answer to a ``Finalize`` with
next to no audio to settle; ``UtteranceEnd`` after a gap; 1011 ``NET-0001`` after 10 s without a message; an empty
binary message ends the stream; ``Metadata`` and 1000 after ``CloseStream``. How a refusal looks:
developers.deepgram.com/docs/errors.
"""

from __future__ import annotations

from collections import deque
from urllib.parse import parse_qs, urlsplit

import msgspec

from ..audio.formats import AudioFormat, Encoding
from ..audio.vad import EnergyVad, SpeechStarted
from .provider_peer import PeerClose, PeerDrop, PeerOrder, PeerRefuse, PeerSay

__all__ = ["Deepgram", "DeepgramFaults", "DeepgramPeer"]

_ENCODINGS = {"mulaw": Encoding.PCMU, "alaw": Encoding.PCMA, "linear16": Encoding.L16}
_IDLE_US = 10_000_000
_NOTICEABLE_US = 100_000
"""Less unsettled audio than this, and a ``Finalize`` is not answered."""
_QUIET_US = 3_000_000
"""An empty final result after so much silence."""


class DeepgramFaults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong on one connection. Times are seconds of the audio it got, but for ``latency_s``."""

    refuse: int = 0  # the upgrade, with this status
    latency_s: float = 0.0  # from hearing to telling
    drop_at_s: float | None = None  # vanish
    close_at_s: float | None = None  # close with ``code``
    code: int = 1011
    reason: str = "NET-0000"
    mute: bool = False  # say nothing, ever
    deaf_to_finalize: bool = False
    no_times: bool = False  # no start, no duration, no words in results
    malformed: bool = False  # garbage before each result


class Deepgram:
    """The service: its script, and how far it has got. ``faults`` are those of its connections, in turn."""

    def __init__(
        self,
        texts: tuple[str, ...] = (),
        faults: tuple[DeepgramFaults, ...] = (),
        *,
        key: str = "",
        interim_us: int = 300_000,
    ) -> None:
        self.texts = texts
        self.key = key
        self.interim_us = interim_us  # audio between interim results
        self.said = 0  # utterances recognised so far
        self._faults = deque(faults)

    def link(self) -> DeepgramPeer:
        """Somebody connects."""
        return DeepgramPeer(self, self._faults.popleft() if self._faults else DeepgramFaults())


class DeepgramPeer:
    """One connection."""

    def __init__(self, service: Deepgram, faults: DeepgramFaults) -> None:
        self._service = service
        self._faults = faults
        self._later: deque[tuple[int, PeerOrder, int]] = deque()  # when, what, how many utterances are in it
        self._over = False
        self._idle_at: int | None = None
        self._line = AudioFormat(Encoding.L16, 16000)
        self._vad = EnergyVad(format=self._line)
        self._query: dict[str, str] = {}
        self._endpointing_us = 0
        self._utterance_end_us = 0
        self._bytes = 0
        self._zero_us = 0  # where the detector's own count began
        self._settled_us = 0
        self._speech_us = -1  # where the utterance being spoken began
        self._interim_at = 0
        self._words_end_us = -1  # of the last final words, while UtteranceEnd is due
        self.audio = bytearray()  # everything heard, for who wants to look
        self.texts: list[str] = []  # every text message that came

    @property
    def deadline(self) -> int | None:
        if self._over and not self._later:
            return None
        times = [self._later[0][0]] if self._later else []
        if self._idle_at is not None and not self._over:
            times.append(self._idle_at)
        return min(times, default=None)

    # --- the upgrade -------------------------------------------------------------------------------------------------

    def opened(self, now: int, target: str, headers: dict[str, str]) -> list[PeerOrder]:
        refusal = self._refusal(target, {name.lower(): value for name, value in headers.items()})
        if refusal is not None:
            self._over = True
            return [refusal]
        self._idle_at = now + _IDLE_US
        return []

    def _refusal(self, target: str, headers: dict[str, str]) -> PeerRefuse | None:
        if self._faults.refuse:
            return _refuse(self._faults.refuse)
        if self._service.key and headers.get("authorization") != f"Token {self._service.key}":
            return _refuse(401)
        parts = urlsplit(target)
        if parts.path != "/v1/listen":
            return _refuse(404)
        self._query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        encoding, rate = self._query.get("encoding", ""), self._query.get("sample_rate", "")
        if encoding not in _ENCODINGS or not rate.isdigit() or not 8000 <= int(rate) <= 48_000:
            return _refuse(400)
        endpointing = self._query.get("endpointing", "10")
        utterance_end = self._query.get("utterance_end_ms", "0")
        if not (endpointing == "false" or endpointing.isdigit()) or not utterance_end.isdigit():
            return _refuse(400)
        if utterance_end != "0" and (int(utterance_end) < 1000 or self._query.get("interim_results") != "true"):
            return _refuse(400)
        if "keyterm" in self._query and not self._query.get("model", "").startswith("nova-3"):
            return _refuse(400)
        self._line = AudioFormat(_ENCODINGS[encoding], int(rate))
        self._endpointing_us = 0 if endpointing == "false" else max(20, int(endpointing)) * 1000
        self._utterance_end_us = int(utterance_end) * 1000
        self._vad = self._detector()
        return None

    def _detector(self) -> EnergyVad:
        return EnergyVad(format=self._line, stop_ms=self._endpointing_us // 1000 or 60_000)

    # --- messages ----------------------------------------------------------------------------------------------------

    def said(self, now: int, data: str | bytes) -> list[PeerOrder]:
        if self._over:
            return []
        self._idle_at = now + _IDLE_US
        if isinstance(data, str):
            self._control(now, data)
        elif not data:
            self._bye(now)
        else:
            self._hear(now, data)
        return self.tick(now)

    def _control(self, now: int, text: str) -> None:
        self.texts.append(text)
        try:
            kind = msgspec.json.decode(text, type=dict[str, object]).get("type")
        except (ValueError, RecursionError):
            kind = None
        if kind == "Finalize":
            self._finalize(now)
        elif kind == "CloseStream":
            self._bye(now)
        elif kind != "KeepAlive":
            self._tell(now, PeerClose(1008, "DATA-0000"))

    def _bye(self, now: int) -> None:
        if self._speech_us >= 0:
            self._result(now, self._position_us, final=True)
        metadata = {"type": "Metadata", "transaction_key": "deprecated", "request_id": _REQUEST, "channels": 1}
        self._json(now, {**metadata, "sha256": "0" * 64, "duration": self._position_us / 1e6})
        self._tell(now, PeerClose(1000))

    @property
    def _position_us(self) -> int:
        return self._line.duration_us(self._bytes)

    def _hear(self, now: int, audio: bytes) -> None:
        self.audio += audio
        step = self._line.bytes_for_ms(20)
        for at in range(0, len(audio), step):  # however much comes at once, it is heard bit by bit
            piece = audio[at : at + step]
            self._bytes += len(piece)
            self._frame(now, piece)
            position = self._position_us / 1e6
            faults = self._faults
            if faults.drop_at_s is not None and position >= faults.drop_at_s:
                self._tell(now, PeerDrop())
                return
            if faults.close_at_s is not None and position >= faults.close_at_s:
                self._tell(now, PeerClose(faults.code, faults.reason))
                return

    def _frame(self, now: int, audio: bytes) -> None:
        for event in self._vad.process(audio):
            at = self._zero_us + event.at_ms * 1000
            if type(event) is SpeechStarted:
                self._speech_us = max(at, self._settled_us)
                self._interim_at = self._position_us
                self._words_end_us = -1
                if self._query.get("vad_events") == "true":
                    self._json(now, {"type": "SpeechStarted", "channel": [0], "timestamp": at / 1e6})
            else:
                self._result(now, self._position_us, final=True, speech_final=True, voiced=at)
        if self._position_us - self._interim_at >= self._service.interim_us:
            self._interim_at = self._position_us
            if self._speech_us < 0 and self._position_us - self._settled_us >= _QUIET_US:
                self._result(now, self._position_us, final=True)
            elif self._query.get("interim_results") == "true":
                self._result(now, self._position_us)
        if 0 <= self._words_end_us <= self._position_us - self._utterance_end_us:
            if self._utterance_end_us:
                ended = {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": self._words_end_us / 1e6}
                self._json(now, ended)
            self._words_end_us = -1

    def _finalize(self, now: int) -> None:
        if self._faults.deaf_to_finalize or self._position_us - self._settled_us < _NOTICEABLE_US:
            return
        last = self._vad.last_voiced_ms or 0
        self._result(now, self._position_us, final=True, from_finalize=True, voiced=self._zero_us + last * 1000)
        self._vad.reset()
        self._zero_us = self._position_us

    # --- results -----------------------------------------------------------------------------------------------------

    def _result(
        self,
        now: int,
        end: int,
        final: bool = False,
        speech_final: bool = False,
        from_finalize: bool = False,
        voiced: int = -1,
    ) -> None:
        """Everything from what was settled last up to ``end``."""
        start = self._settled_us
        said = self._said(final, end)
        voice_end = min(end, voiced) if voiced > start else end
        words = self._words(said, max(start, self._speech_us), voice_end)
        spoken = self._speech_us >= 0
        if final:
            if spoken:
                self._service.said += 1
                self._words_end_us = voice_end
            self._speech_us = -1
            self._settled_us = end
        best = {"transcript": " ".join(said), "confidence": 0.98 if said else 0.0, "words": words}
        result: dict[str, object] = {
            "type": "Results",
            "channel_index": [0, 1],
            "duration": (end - start) / 1e6,
            "start": start / 1e6,
            "is_final": final,
            "speech_final": speech_final,
            "channel": {"alternatives": [best]},
            "metadata": {"request_id": _REQUEST, "model_info": {"name": self._query.get("model", "")}},
            "from_finalize": from_finalize,
        }
        if self._faults.no_times:
            del result["start"], result["duration"], best["words"]
        if self._faults.malformed:
            self._tell(now, PeerSay('{"type":"Results","channel":{"alternatives":7}}'))
        self._json(now, result, int(final and spoken))

    def _said(self, final: bool, end: int) -> list[str]:
        """The words known of the utterance being spoken: all in the end, one more with each guess until then."""
        service = self._service
        if self._speech_us < 0 or service.said >= len(service.texts):
            return []
        words = service.texts[service.said].split()
        known = len(words) if final else min(len(words), (end - self._speech_us) // service.interim_us)
        return words[: int(known)]

    def _words(self, said: list[str], start: int, end: int) -> list[dict[str, object]]:
        """Each takes the time in which a guess learns one more; who speaks faster says the rest at the end."""
        each = self._service.interim_us
        return [
            {
                "word": word.lower().strip(".,!?"),
                "punctuated_word": word,
                "start": min(end, start + at * each) / 1e6,
                "end": min(end, start + (at + 1) * each) / 1e6,
                "confidence": 0.98,
            }
            for at, word in enumerate(said)
        ]

    def _json(self, now: int, message: dict[str, object], utterances: int = 0) -> None:
        if not self._faults.mute:
            self._tell(now, PeerSay(msgspec.json.encode(message).decode()), utterances)

    def _tell(self, now: int, order: PeerOrder, utterances: int = 0) -> None:
        if self._over:
            return
        at = now + round(self._faults.latency_s * 1e6)
        if type(order) is PeerDrop or type(order) is PeerClose:
            self._over = True
            if type(order) is PeerDrop:  # who vanishes takes what was under way along
                self._unsay()
                at = now
        self._later.append((at, order, utterances))

    def _unsay(self) -> None:
        """What was still under way never arrives."""
        self._service.said -= sum(utterances for _, _, utterances in self._later)
        self._later.clear()

    def tick(self, now: int) -> list[PeerOrder]:
        if not self._over and self._idle_at is not None and now >= self._idle_at:
            reason = "NET-0001 Deepgram did not receive audio data or a text message within the timeout window"
            self._tell(now, PeerClose(1011, reason))
        out: list[PeerOrder] = []
        while self._later and self._later[0][0] <= now:
            out.append(self._later.popleft()[1])
        return out

    def closed(self, now: int) -> None:
        del now
        self._over = True
        self._unsay()


_REQUEST = "00000000-0000-4000-8000-000000000000"

_ERRORS = {
    400: ("Bad Request", "the query holds a value that is not understood"),
    401: ("INVALID_AUTH", "these credentials are not valid"),
    402: ("ASR_PAYMENT_REQUIRED", "the project has no credit for this request"),
    403: ("INSUFFICIENT_PERMISSIONS", "the project has no access to this model"),
    404: ("Not Found", "nothing is here"),
    429: ("TOO_MANY_REQUESTS", "too many streams at once"),
}


def _refuse(status: int) -> PeerRefuse:
    code, message = _ERRORS.get(status, ("INTERNAL_SERVER_ERROR", "something failed inside"))
    body = {"err_code": code, "err_msg": message, "request_id": _REQUEST}
    return PeerRefuse(status, msgspec.json.encode(body))
