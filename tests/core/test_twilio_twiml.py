"""TwiML: the exact bytes, and that whatever is written is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.carriers.twilio.twiml import (
    MAX_TWIML,
    Conference,
    Connect,
    Dial,
    Hangup,
    Number,
    Pause,
    Redirect,
    Reject,
    Say,
    Sip,
    Unknown,
    connect_stream,
    consult,
    hang_up,
    join_room,
    read_twiml,
    reject,
    say_and_hang_up,
    transfer,
    write_twiml,
)

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
URL = "wss://agent.example.com/ws/stream/CA1/ticket"


def test_exact_documents() -> None:
    assert connect_stream(URL, {"caller": "+15551234567", "callee": "+15550001111"}) == (
        f'{DECLARATION}<Response><Connect><Stream url="{URL}"><Parameter name="caller" value="+15551234567" />'
        '<Parameter name="callee" value="+15550001111" /></Stream></Connect></Response>'
    )
    assert connect_stream(URL, {}, after=[Say("bye"), Hangup()]) == (
        f'{DECLARATION}<Response><Connect><Stream url="{URL}" /></Connect><Say>bye</Say><Hangup /></Response>'
    )
    assert reject() == f'{DECLARATION}<Response><Reject reason="busy" /></Response>'
    assert hang_up() == f"{DECLARATION}<Response><Hangup /></Response>"
    assert say_and_hang_up("1 < 2 & 3", "fr") == (
        f'{DECLARATION}<Response><Say language="fr-FR">1 &lt; 2 &amp; 3</Say><Hangup /></Response>'
    )


# What XML can carry at all; everything else is dropped (next test).
carried = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn", "Cs"]), max_size=30)
words = carried.map(str.strip)
events = st.lists(st.sampled_from(["start", "end", "join", "leave"]), max_size=4).map(tuple)
nouns = st.one_of(
    st.builds(Number, words),
    st.builds(Sip, words),
    st.builds(Conference, words, st.booleans(), st.booleans(), st.booleans(), words, events),
)
verbs = st.one_of(
    st.builds(Connect, st.builds("wss://{}".format, words), st.dictionaries(carried.filter(bool), carried), words),
    st.builds(Reject, st.sampled_from(["busy", "rejected"])),
    st.builds(Say, words, st.sampled_from(["", "de-DE"])),
    st.just(Hangup()),
    st.builds(Pause, st.integers(0, 99999)),
    st.builds(Dial, nouns, words, words, st.none() | st.integers(0, 600), st.booleans()),
    st.builds(Redirect, words, st.sampled_from(["GET", "POST"])),
)


@given(written=st.lists(verbs, max_size=5))
def test_what_is_written_is_read_back(written: list[Connect | Say | Dial]) -> None:
    document = write_twiml(written)
    assert "\n" not in document
    if len(document) <= MAX_TWIML:
        assert read_twiml(document) == written


@given(name=st.text(st.characters(exclude_categories=()), max_size=60), value=st.text(max_size=60))
def test_no_text_leaves_its_attribute(name: str, value: str) -> None:
    document = connect_stream(URL, {name: value}, after=[Say(value)])
    connect, say = read_twiml(document)
    assert isinstance(connect, Connect)
    assert isinstance(say, Say)
    assert connect.url == URL
    assert len(connect.parameters) <= 1
    document.encode("utf-8")


@given(text=st.text(st.characters(exclude_categories=()), max_size=80))
def test_no_text_leaves_a_dial(text: str) -> None:
    for document in (transfer(text, text, text), consult(text, text, text, text), join_room(text, text)):
        found = read_twiml(document)
        dial = found[-1]
        assert isinstance(dial, Dial)
        assert len(found) == (2 if isinstance(found[0], Say) else 1)
        document.encode("utf-8")


def test_the_consulted_leg_waits_and_the_caller_starts() -> None:
    consulted = read_twiml(consult("brief", "", "room", "https://a.example/c"))[-1]
    caller = read_twiml(join_room("room", "https://a.example/t"))[0]
    assert isinstance(consulted, Dial)
    assert isinstance(caller, Dial)
    waits, starts = consulted.to, caller.to
    assert isinstance(waits, Conference)
    assert isinstance(starts, Conference)
    assert (waits.room, waits.starts, waits.ends) == ("room", False, True)
    assert (starts.room, starts.starts, starts.ends) == ("room", True, True)
    assert consulted.action == ""  # nothing follows for the consulted leg
    assert caller.action == "https://a.example/t"


@given(text=st.text(st.characters(exclude_categories=())))
def test_reading_raises_nothing_but_value_error(text: str) -> None:
    for document in (text, f"<Response>{text}</Response>", f'{DECLARATION}<Response><Say a="{text}"/></Response>'):
        try:
            read_twiml(document)
        except ValueError:
            pass


@pytest.mark.parametrize("depth", [100, 5000])
def test_nesting_is_read_without_recursion(depth: int) -> None:
    assert read_twiml("<Response>" + "<a>" * depth + "</a>" * depth + "</Response>") == [Unknown("a")]


@pytest.mark.parametrize("encoding", ["utf-16", "ascii", "no-such-encoding"])
def test_the_declared_encoding_of_a_text_does_not_matter(encoding: str) -> None:
    assert read_twiml(f'<?xml version="1.0" encoding="{encoding}"?><Response><Say>é</Say></Response>') == [Say("é")]


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="Play"):
        write_twiml([Unknown("Play")])
    for url in ("https://a.example", "wss://a.example?x=1", "wss://a.example#f", ""):
        with pytest.raises(ValueError, match="stream URL"):
            connect_stream(url, {})


def test_a_simulated_carrier_may_use_plain_websockets() -> None:
    assert read_twiml(connect_stream("ws://127.0.0.1:8000/ws", {})) == [Connect("ws://127.0.0.1:8000/ws")]
