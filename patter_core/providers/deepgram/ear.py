"""Deepgram as an ear: the line goes out as it is, words come back while they are spoken.

Two detectors listen for the end of a turn, ours and Deepgram's, and either may be first:

* Deepgram's is (``speech_final``, ``UtteranceEnd``): its words are ``Recognised`` at once, under no name. When ours
  follows for the same speech there is nothing left to tell, which is an answer too: ''.
* Ours is: a ``Finalize`` asks for the last words, and they are the answer.

Whose words are whose is decided by their place in the audio, which both count from its start, and not by what arrives
when. A stretch of audio is *settled* once a final result covers it: its words have been collected, and everything we
owe up to there can be answered. That the service answers every ``Finalize`` is not promised, so patience is bounded;
what was only guessed by then is the answer, and the place up to which it was told is remembered, so that the same words
are not told again when they become final.

What is not settled is kept. When the link breaks it is said again on the next one, with the ``Finalize`` in their
places, so that an utterance survives; who breaks again and again is ``Lost``. Utterances owed at ``Lost`` stay with
whoever takes over: they have their audio.
"""

from __future__ import annotations

import enum
from collections import deque

import msgspec

from ...audio.formats import AudioFormat
from ...call.words import CloseLink, Inward, LinkClosed, LinkOpened, LinkSaid, OpenLink, SayOnLink, SendOnLink
from ...engines.engine import ProviderWarned, StageFailed, Switched, Used
from ...engines.stages import EarOrder, Lost, Partial, Recognised
from ...engines.usage import Usage
from ...settings import CallSettings, us
from ...timers import Timers, later
from .kept import Kept
from .options import DeepgramSpec
from .wire import CLOSE_STREAM, FINALIZE, KEEP_ALIVE, Complaint, Result, TurnEnded, listen_url, read

__all__ = ["DeepgramEar"]

_FRAME_MS = 20
"""The least audio in a message: less is overhead."""
_REPLAY_MS = 250
"""Audio in a message when it is said again: the service's own advice is 20 to 250 ms."""
_KEEP_ALIVE_S = 4.0
"""The service ends a stream after 10 s of nothing, and advises 3 to 5."""
_CONNECT_S = 5.0
_BACKOFF_S = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Before each further try; more failures in a row than this is an outage."""
_STEADY_S = 10.0
"""A link that lasted so long was a good one: what breaks next is a new failure, not the same again."""
_NEAR_MS = 250
"""Two places in the audio this near are the same: results are cut at the service's own frames."""
_UNHEARD_MS = 2000
"""Kept before a place up to which the service heard no word: one may have begun."""
_OWED = 20
"""Utterances that wait at once: one takes at least the silence that ended it."""
_WORDS = 20_000
"""Characters that wait for the end of a turn."""


class _Timer(enum.Enum):
    CONNECT = "connect"
    RETRY = "retry"
    KEEP_ALIVE = "keep alive"
    OWED = "owed"


class _Refusal(msgspec.Struct):
    err_code: str = ""
    err_msg: str = ""


_REFUSAL = msgspec.json.Decoder(_Refusal)


class _Owed:
    """An utterance that waits for its words."""

    __slots__ = ("answered", "due", "end", "limit", "stopped", "voiced")

    def __init__(self, stopped: int, voiced: int, end: int, due: int, limit: int) -> None:
        self.stopped = stopped
        self.voiced = voiced  # where its last voice was
        self.end = end  # where the line was when it ended, and where ``Finalize`` goes
        self.due = due  # when to make do with what there is
        self.limit = limit  # when there is nothing to wait for any more
        self.answered = False


class DeepgramEar:
    """One call's ear. ``language`` is the agent's, for a spec that names none."""

    def __init__(
        self, spec: DeepgramSpec, prefix: str, line: AudioFormat, settings: CallSettings, language: str = ""
    ) -> None:
        self._spec = spec
        self._prefix = prefix
        self._line = line
        self._settings = settings
        self._url = listen_url(spec, line, language)
        self._rate = line.rate * line.bytes_per_sample
        self._frame = line.bytes_for_ms(_FRAME_MS)
        self._near = line.bytes_for_ms(_NEAR_MS)
        self._timers: Timers[_Timer] = Timers()
        self._done = False

        self._count = 0
        self._link = ""  # the link that is open or being opened
        self._up = False
        self._up_at = 0
        self._failures = 0
        self._outage = ""  # why the last link went, until the next is up

        self._kept = Kept(max(self._frame, line.bytes_for_ms(round(settings.utterance_s * 1000))))
        self._batch = b""
        self._sent_at = 0
        self._base = 0  # where in the line this link's audio began
        self._sent = 0  # ... and where it is now
        self._unreported = 0  # bytes sent since usage was last reported

        self._owed: deque[_Owed] = deque()
        self._asked: deque[_Owed] = deque()  # one for each ``Finalize`` on this link that was not answered yet
        self._words: list[str] = []  # final, and not told yet
        self._final = 0  # up to here the audio is settled
        self._heard = 0  # up to here the service has heard it
        self._interim = ""
        self._interim_end = 0
        self._partial = ""
        self._told = -1  # up to here an interim result was told for good
        self._told_words: list[str] = []
        self._warned: set[str] = set()

    @property
    def hears(self) -> AudioFormat:
        return self._line

    @property
    def deadline(self) -> int | None:
        return None if self._done else self._timers.deadline

    # --- audio -------------------------------------------------------------------------------------------------------

    def begin(self, now: int) -> list[EarOrder]:
        out: list[EarOrder] = []
        if not self._done and not self._link:
            self._open(now, out)
        return out

    def hear(self, now: int, audio: bytes) -> list[EarOrder]:
        if self._done or not audio:
            return []
        self._kept.add(audio)
        if not self._up:
            return self._forgotten(now) if self._owed else []
        if self._batch or len(audio) < self._frame:
            self._batch += audio
            if len(self._batch) < self._frame:
                return []
            audio, self._batch = self._batch, b""
        return [self._send(now, audio)]

    def _send(self, now: int, audio: bytes) -> SendOnLink:
        self._sent_at = now
        self._sent += len(audio)
        self._unreported += len(audio)
        return SendOnLink(self._link, audio)

    def _flush(self, now: int, out: list[EarOrder]) -> None:
        if self._batch:
            audio, self._batch = self._batch, b""
            out.append(self._send(now, audio))

    # --- utterances --------------------------------------------------------------------------------------------------

    def utterance(self, now: int, stopped: int, audio: bytes) -> list[EarOrder]:
        out: list[EarOrder] = []
        if self._done:
            return out
        end = self._kept.end
        silence = self._bytes(min(max(0, now - stopped) / 1_000_000, self._settings.endpoint_s))
        voiced = end - silence if silence < min(end, len(audio)) else end
        limit = later(now, self._settings.stt_s)
        owed = _Owed(stopped, voiced, end, min(later(now, self._spec.patience_s), limit), limit)
        if not self._owed and self._settled(owed):
            self._answer(owed, self._take(), out)
            return out
        self._owed.append(owed)
        if self._up:
            self._flush(now, out)
            self._finalize(owed, out)
        if len(self._owed) > _OWED:
            self._fail(self._owed[0], "too slow: too many utterances wait; the oldest was not recognised", out)
        self._arm(now)
        return out

    def _finalize(self, owed: _Owed, out: list[EarOrder]) -> None:
        self._asked.append(owed)
        if len(self._asked) > 2 * _OWED:
            self._asked.popleft()
        out.append(SayOnLink(self._link, FINALIZE))

    def _settled(self, owed: _Owed) -> bool:
        """Are all words of this utterance known?"""
        return self._final >= owed.voiced and not self._interim

    def _answer(self, owed: _Owed, text: str, out: list[EarOrder]) -> None:
        owed.answered = True
        if owed in self._owed:
            self._owed.remove(owed)
        out.append(Recognised(text, owed.stopped))
        self._report(out)

    def _fail(self, owed: _Owed, detail: str, out: list[EarOrder]) -> None:
        out.append(StageFailed("stt", detail))
        self._answer(owed, "", out)

    def _forgotten(self, now: int) -> list[EarOrder]:
        """While there is no link: is an utterance gone from what is kept?"""
        out: list[EarOrder] = []
        while self._owed and self._owed[0].end <= self._kept.start:
            self._fail(self._owed[0], "no link to Deepgram for longer than utterance_s; not recognised", out)
        if out:
            self._arm(now)
        return out

    def _take(self) -> str:
        """The words that wait."""
        text = " ".join(self._words)
        self._words.clear()
        self._partial = ""
        return text

    def _take_guess(self) -> str:
        """The words that wait, and what was understood of the rest so far."""
        if self._interim:
            self._words.append(self._interim)
            self._told = self._interim_end
            self._told_words = [_plain(word) for word in self._interim.split()]
            self._interim = ""
            self._kept.forget(self._told)
        return self._take()

    def _arm(self, now: int) -> None:
        """The oldest utterance decides when to act."""
        if not self._owed:
            self._timers.clear(_Timer.OWED)
            return
        owed = self._owed[0]
        self._timers.set(_Timer.OWED, max(now + 1, owed.due if self._up else owed.limit))

    def _impatient(self, now: int, out: list[EarOrder]) -> None:
        """The oldest utterance has waited long enough: for its last words, or altogether."""
        if not self._owed:
            return
        owed = self._owed[0]
        if self._words or self._interim:
            self._answer(owed, self._take_guess(), out)
        elif self._has_heard(owed):
            self._answer(owed, "", out)  # it has heard all of it, and no word
        elif now < owed.limit:
            owed.due = owed.limit
        else:
            self._fail(owed, f"took too long (stt_s {self._settings.stt_s:g})", out)
            if self._up:  # a link that is open and silent is none
                out.append(CloseLink(self._link))
                self._gone(now, "it did not answer in time", out)
        self._arm(now)

    # --- what it hears -----------------------------------------------------------------------------------------------

    def handle(self, now: int, fact: Inward) -> list[EarOrder]:
        out: list[EarOrder] = []
        if self._done or not self._link or fact.name != self._link:
            return out
        match fact:
            case LinkSaid(_, text):
                if self._up:
                    self._said(now, text, out)
            case LinkOpened():
                if not self._up:
                    self._opened(now, out)
            case LinkClosed():
                self._closed(now, fact, out)
        return out

    def _said(self, now: int, text: str, out: list[EarOrder]) -> None:
        match read(text):
            case Result() as result:
                self._result(now, result, out)
            case TurnEnded():
                if self._words and not self._owed:
                    self._tell(out)
            case Complaint(code, detail):
                if code not in self._warned:  # once: it may come with every message
                    self._warned.add(code)
                    out.append(ProviderWarned("deepgram", code, detail))

    def _result(self, now: int, result: Result, out: list[EarOrder]) -> None:
        end = min(self._place(result.end), self._sent)
        self._heard = max(self._heard, end)
        text = self._fresh(result)
        if not result.final:
            self._guessed(result, text, end, out)
            self._catch_up(now)
            return
        if self._told >= 0 and end >= self._told:
            self._told = -1
        self._interim = ""
        self._final = max(self._final, end)
        self._kept.forget(self._final)
        if text:
            self._words.append(text)
        if result.from_finalize:
            self._finalized(end, out)
        while self._owed and self._settled(self._owed[0]):
            self._answer(self._owed[0], self._take(), out)
        over = not self._owed and (result.speech_final or result.from_finalize)
        if (over and self._words) or sum(map(len, self._words)) > _WORDS:
            self._tell(out)
        self._catch_up(now)
        self._arm(now)

    def _catch_up(self, now: int) -> None:
        """A service that was behind has now heard all of the oldest utterance: from here on patience is short again."""
        if self._owed and self._owed[0].due == self._owed[0].limit and self._has_heard(self._owed[0]):
            self._owed[0].due = min(later(now, self._spec.patience_s), self._owed[0].limit - 1)
            self._arm(now)

    def _has_heard(self, owed: _Owed) -> bool:
        return self._heard + self._near >= owed.voiced

    def _guessed(self, result: Result, text: str, end: int, out: list[EarOrder]) -> None:
        self._interim = text
        last = result.words[-1].end if result.words else 0.0
        self._interim_end = min(self._place(last), self._sent) if last else end
        if not result.text:
            self._kept.forget(end - self._line.bytes_for_ms(_UNHEARD_MS))
            return
        partial = " ".join([*self._words, text]).strip()
        if partial and partial != self._partial:
            self._partial = partial
            out.append(Partial(partial))

    def _fresh(self, result: Result) -> str:
        """The text of a result without the words that were told when they were still a guess: by the words, or, where
        they have changed since, by the time at which they were said."""
        if self._told < 0 or self._place(result.start) >= self._told:
            return result.text
        words, told = result.text.split(), self._told_words
        if result.final:
            self._told_words = told[len(words) :]
        same = min(len(words), len(told))
        if [_plain(word) for word in words[:same]] != told[:same] and result.words and result.words[-1].end:
            rest = [word for word in result.words if self._place((word.start + word.end) / 2) > self._told]
            return " ".join(word.punctuated_word or word.word for word in rest).strip()
        return " ".join(words[same:])

    def _finalized(self, end: int, out: list[EarOrder]) -> None:
        """A ``Finalize`` was answered: that for the audio up to ``end``, and with it any before it."""
        first = True
        while self._asked and (first or self._asked[0].end <= end + self._near):
            owed = self._asked.popleft()
            first = False
            if not owed.answered:
                self._answer(owed, self._take(), out)

    def _tell(self, out: list[EarOrder]) -> None:
        """Deepgram found the end of a turn first."""
        out.append(Recognised(self._take(), -1))
        self._report(out)

    def _place(self, seconds: float) -> int:
        return self._base + self._bytes(seconds)

    def _bytes(self, seconds: float) -> int:
        return int(seconds * self._line.rate + 0.5) * self._line.bytes_per_sample

    # --- the link ----------------------------------------------------------------------------------------------------

    def _open(self, now: int, out: list[EarOrder]) -> None:
        self._count += 1
        self._link = f"{self._prefix}{self._count}"
        self._timers.clear(_Timer.RETRY)
        self._timers.set(_Timer.CONNECT, later(now, _CONNECT_S))
        out.append(OpenLink(self._link, self._url, (), self._spec.auth))

    def _opened(self, now: int, out: list[EarOrder]) -> None:
        self._up = True
        self._up_at = self._sent_at = now
        self._timers.clear(_Timer.CONNECT)
        self._timers.set(_Timer.KEEP_ALIVE, later(now, _KEEP_ALIVE_S))
        if self._outage:
            out.append(Switched("stt", "deepgram", f"a new link to Deepgram; the last one went: {self._outage}"))
            self._outage = ""
        self._base = self._sent = self._kept.start
        audio = self._kept.whole()
        for owed in self._owed:
            self._replay(now, audio, owed.end, out)
            self._finalize(owed, out)
            owed.due = min(later(now, self._spec.patience_s), owed.limit)
        self._replay(now, audio, self._kept.end, out)
        self._arm(now)

    def _replay(self, now: int, audio: bytes, end: int, out: list[EarOrder]) -> None:
        step = self._line.bytes_for_ms(_REPLAY_MS)
        while self._sent < end:
            at = self._sent - self._base
            out.append(self._send(now, audio[at : min(at + step, end - self._base)]))

    def _closed(self, now: int, fact: LinkClosed, out: list[EarOrder]) -> None:
        status = fact.status
        if status in _ADVICE:
            self._lose(_ADVICE[status].format(model=self._spec.model, said=_said(fact.reason)), out)
        elif 400 <= status < 500 and status not in (408, 429):
            self._lose(f"Deepgram refused the settings ({status}): {_said(fact.reason)}", out)
        elif status:
            more = "; it limits how many streams a project may have at once" if status == 429 else ""
            self._gone(now, f"refused with {status}{more}", out)
        elif fact.fault is not None:
            self._gone(now, f"not reached ({fact.fault.value})", out)
        else:
            idle = not self._owed and not self._interim and now - self._sent_at >= us(_KEEP_ALIVE_S)
            detail = f"closed with {fact.code} {_said(fact.reason)}".rstrip()
            self._gone(now, detail, out, quietly=idle and self._up)

    def _gone(self, now: int, detail: str, out: list[EarOrder], quietly: bool = False) -> None:
        """The link is no more. Another one, unless this happens again and again."""
        if self._up and now - self._up_at >= us(_STEADY_S):
            self._failures = 0
        self._link = ""
        self._up = False
        self._batch = b""
        self._interim = self._partial = ""
        self._heard = self._final
        self._asked.clear()
        for timer in (_Timer.CONNECT, _Timer.KEEP_ALIVE):
            self._timers.clear(timer)
        self._failures += 1
        if self._failures > len(_BACKOFF_S):
            self._lose(f"Deepgram: {self._failures} links in a row failed; the last: {detail}", out)
            return
        if not quietly:
            self._outage = detail
        wait = _BACKOFF_S[self._failures - 1]
        if wait:
            self._timers.set(_Timer.RETRY, later(now, wait))
        else:
            self._open(now, out)
        self._arm(now)

    def _lose(self, detail: str, out: list[EarOrder]) -> None:
        self._done = True
        self._link = ""
        self._report(out)
        out.append(Lost(detail))

    def _report(self, out: list[EarOrder]) -> None:
        audio = self._line.duration_us(self._unreported)
        if audio:
            self._unreported = 0
            out.append(Used(Usage(stage="stt", provider="deepgram", model=self._spec.model, audio_us=audio)))

    # --- time --------------------------------------------------------------------------------------------------------

    def tick(self, now: int) -> list[EarOrder]:
        out: list[EarOrder] = []
        while not self._done and (timer := self._timers.due(now)) is not None:
            match timer:
                case _Timer.CONNECT:
                    out.append(CloseLink(self._link))
                    self._gone(now, f"it did not open within {_CONNECT_S:g} s", out)
                case _Timer.RETRY:
                    self._open(now, out)
                case _Timer.KEEP_ALIVE:
                    self._keep_alive(now, out)
                case _Timer.OWED:
                    self._impatient(now, out)
        return out

    def _keep_alive(self, now: int, out: list[EarOrder]) -> None:
        if now - self._sent_at >= us(_KEEP_ALIVE_S):
            out.append(SayOnLink(self._link, KEEP_ALIVE))
            self._timers.set(_Timer.KEEP_ALIVE, later(now, _KEEP_ALIVE_S))
        else:  # audio went out meanwhile; setting a timer with every frame would cost more
            self._timers.set(_Timer.KEEP_ALIVE, max(now + 1, self._sent_at + us(_KEEP_ALIVE_S)))

    def end(self, now: int) -> list[EarOrder]:
        out: list[EarOrder] = []
        if self._done:
            return out
        self._done = True
        if self._up:
            out.append(SayOnLink(self._link, CLOSE_STREAM))
        if self._link:
            out.append(CloseLink(self._link))
        self._report(out)
        return out


_ADVICE = {
    401: "Deepgram refused the key (401): check DEEPGRAM_API_KEY, or DeepgramSTT(api_key=...)",
    402: "Deepgram wants payment (402): the project has no credit left; top it up in the Deepgram console",
    403: "Deepgram does not let this key use {model!r} (403): {said}; give it the permission, or name another model",
}


def _plain(word: str) -> str:
    return "".join(filter(str.isalnum, word.lower()))


def _said(reason: str) -> str:
    """What a refusal or a close frame says, in few words."""
    try:
        refusal = _REFUSAL.decode(reason)
    except (ValueError, RecursionError):
        return " ".join(reason[:200].split())
    return " ".join(f"{refusal.err_code} {refusal.err_msg}"[:200].split())
