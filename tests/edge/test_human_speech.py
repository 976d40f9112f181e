"""A human voice over the telephone: Allison Smith's prompts, which Debian packages with their words.

The recordings are CC-BY-SA and therefore not kept here: only their names and the words of short ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from patter_core.audio import g711
from patter_core.audio.wav import read_wav, to_mono
from patter_core.edge.speech.recogniser import Recogniser

_HOMES = (Path("/usr/share/asterisk/sounds/en"), Path("/usr/share/asterisk/sounds/en_US_f_Allison"))
_HOME = next((home for home in _HOMES if (home / "vm-goodbye.wav").is_file()), None)

pytest.importorskip("pocketsphinx", reason="pocketsphinx is missing: pip install 'patter[demo]'")
pytestmark = pytest.mark.skipif(
    _HOME is None, reason="NO HUMAN SPEECH TO TEST WITH: apt-get install -y asterisk-core-sounds-en-wav"
)

KNOWN = {
    "agent-loggedoff": "agent logged off",
    "all-circuits-busy-now": "all circuits are busy now",
    "auth-thankyou": "thank you",
    "call-fwd-no-ans": "call forward on no answer",
    "call-fwd-unconditional": "call forward unconditional",
    "cannot-complete-as-dialed": "your call cannot be completed as dialed",
    "conf-enteringno": "you are entering conference number",
    "conf-extended": "the conference has been extended",
    "conf-getpin": "please enter the conference pin number",
    "conf-hasleft": "has left the conference",
    "conf-kicked": "you have been kicked from this conference",
    "conf-locked": "this conference is locked",
    "conf-muted": "you are now muted",
    "conf-now-recording": "the conference is now being recorded",
    "confbridge-has-joined": "has joined the conference",
    "confbridge-lock-in": "to lock or unlock the conference",
    "confbridge-unmuted": "you are no longer muted",
    "demo-echodone": "the echo test has been completed",
    "dir-last": "letters of your party's last name",
    "do-not-disturb": "do not disturb",
    "from-unknown-caller": "from an unknown caller",
    "if-correct-press": "if this is correct press",
    "info-about-last-call": "information about your last call",
    "number-not-answering": "the number is not answering",
    "pbx-parkingfailed": "parking attempt failed",
    "please-try-call-later": "please try your call again later",
    "priv-recordintro": "at the tone please say your name",
    "privacy-to-blacklist-last-caller": "the last caller was",
    "queue-thereare": "you are currently caller number",
    "something-terribly-wrong": "something is terribly wrong",
    "sorry-youre-having-problems": "sorry you're having problems",
    "telephone-number": "telephone number",
    "tt-monkeysintro": "they have been carried away by monkeys",
    "vm-dialout": "please wait while i connect your call",
    "vm-from-extension": "message from extension",
    "vm-incorrect": "login incorrect",
    "vm-marked-urgent": "message marked urgent",
    "vm-msgsaved": "your message has been saved",
    "vm-passchanged": "your passwords have been changed",
    "vm-star-cancel": "press star to cancel",
}
"""Clip -> its words."""

FOREIGN = (
    "agent-loginok",
    "call-waiting",
    "conf-noempty",
    "confbridge-invalid",
    "dir-nomatch",
    "enter-num-blacklist",
    "num-was-successfully",
    "please-try-again",
    "privacy-incorrect",
    "spy-mobile",
    "to-call-this-number",
    "transfer",
    "vm-isunavail",
    "vm-msgforwarded",
    "vm-onefor-full",
    "vm-tempgreetactive",
    "vm-tocancel",
    "vm-deleted",
    "de-activated",
    "queue-less-than",
)
"""Clips whose words are not among the known ones."""


def clip(name: str) -> bytes:
    """A clip at 8 kHz, as a carrier would deliver it."""
    assert _HOME is not None
    wav = read_wav((_HOME / f"{name}.wav").read_bytes())
    assert wav.rate == 8000
    return g711.ulaw_decode(g711.ulaw_encode(to_mono(wav)))


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser(tuple(KNOWN.values()))


def test_a_human_is_understood(recogniser: Recogniser) -> None:
    heard = {name: recogniser.recognise(clip(name)) for name in KNOWN}
    wrong = {name: text for name, text in heard.items() if text not in ("", KNOWN[name])}
    missed = [name for name, text in heard.items() if not text]
    assert not wrong
    assert len(missed) <= 2, missed


def test_a_human_who_says_something_else_is_mostly_not_misunderstood(recogniser: Recogniser) -> None:
    taken = {name: text for name in FOREIGN if (text := recogniser.recognise(clip(name)))}
    assert len(taken) <= 3, taken
