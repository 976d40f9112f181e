"""The recorded caller and the scripted agent belong together."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import patter_core
from patter_core.audio.tones import level_dbfs
from patter_core.audio.wav import read_wav
from patter_core.edge.demo_agent import CALLER_SCRIPT, FIRST_MESSAGE, PHRASES, Intent, intent, reply
from patter_core.edge.speech import caller
from patter_core.edge.speech.caller import caller_utterances

ASSETS = Path(patter_core.__file__).parent / "edge" / "assets"


def test_the_manifest_describes_the_files() -> None:
    manifest = json.loads((ASSETS / "caller.json").read_text(encoding="utf-8"))
    files = {path.name for path in ASSETS.glob("*.wav")}
    assert {entry["file"] for entry in manifest["utterances"]} == files
    for entry in manifest["utterances"]:
        data = (ASSETS / entry["file"]).read_bytes()
        wav = read_wav(data)
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert (wav.rate, wav.channels) == (manifest["rate"], 1) == (8000, 1)
        assert len(wav.pcm) // 16 == entry["ms"]
        assert -26 < level_dbfs(wav.pcm) < -14
    assert sum((ASSETS / name).stat().st_size for name in files) < 400_000


def test_the_caller_says_only_what_the_agent_understands() -> None:
    said = caller_utterances()
    assert tuple(said) == CALLER_SCRIPT
    assert {utterance.text for utterance in said.values()} <= set(PHRASES)
    meant = [intent(utterance.text) for utterance in said.values()]
    assert meant == [Intent.HOURS, Intent.BOOK, Intent.MENU, Intent.STOP, Intent.GOODBYE]


def test_a_recording_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ASSETS.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "caller-stop.wav").open("ab") as file:
        file.write(b"\0\0")
    monkeypatch.setattr(caller, "_ASSETS", tmp_path)
    with pytest.raises(OSError, match=r"caller-stop\.wav"):
        caller.caller_utterances.__wrapped__()


def test_every_phrase_has_an_answer_of_its_own_kind() -> None:
    unknown = {reply("", 0), reply("", 1)}
    assert len(unknown) == 2
    for phrase in PHRASES:
        assert intent(phrase) is not Intent.UNKNOWN
        assert reply(phrase, 0) not in unknown
        assert reply(phrase.upper() + "!", 3) == reply(phrase, 0)
    assert reply("the weather in london", 7) == reply("", 1)


@pytest.mark.parametrize(
    ("text", "contains"),
    [
        ("what are your opening hours", "nine in the morning"),
        ("are you open on sunday", "Yes. On Sunday"),
        ("book a table for two", "a table for two"),
        ("book a table for four", "a table for four"),
        ("i would like to book a table", "for two, for three, or for four?"),
        ("goodbye", "Goodbye."),
    ],
)
def test_answers(text: str, contains: str) -> None:
    assert contains in reply(text, 0)


def test_the_menu_is_long_enough_to_be_interrupted() -> None:
    assert len(reply("read me the menu", 0)) > 400
    assert len(FIRST_MESSAGE) < 100
