"""``on_message`` as a URL, against an application's server of our own, in virtual time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from patter_core.engines.engine import StageFailed, ToolAnswered
from patter_core.engines.stages import BrainOrder, Replied, Text
from patter_core.errors import ConfigError
from patter_core.providers.keys import Resolving
from patter_core.providers.remote import RemoteBrain, RemoteLinkBrain, RemoteLinkSpec, RemoteSpec, remote_spec
from patter_core.providers.remote.pieces import Utf8
from patter_core.settings import CallSettings
from patter_core.simulator.llm_peer import WebhookLinkPeer, WebhookPeer
from tests.core.brain_kit import Talk, ask, context

SECRET = "shared"


def echo(payload: dict[str, Any]) -> Sequence[str]:
    return ["You said ", payload["text"], "."]


# --- over HTTP -------------------------------------------------------------------------------------------------------


def posted(cut: int = 0, reply: Any = echo, reply_s: float = 30, **peer: Any) -> Talk:
    resolving = Resolving({})
    spec = remote_spec("http://127.0.0.1:9000/reply", SECRET, resolving)
    assert isinstance(spec, RemoteSpec)
    brain = RemoteBrain(spec, "reply:", context(), CallSettings(reply_s=reply_s))
    return Talk(brain, lambda n: WebhookPeer(reply, secret=SECRET, **peer), secrets=resolving.secrets, cut=cut)


@pytest.mark.parametrize("style", ["text", "json", "events"])
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 7])
def test_every_kind_of_answer_is_spoken_whatever_the_cuts(style: str, cut: int) -> None:
    one = posted(cut, style=style)
    one.reply(ask("Où est 日本 😀?"))
    assert one.gist == ["text:You said Où est 日本 😀?.", "Replied"]
    one.end()


def test_the_request_is_the_payload_signed() -> None:
    one = posted()
    one.reply(ask("Hi"))
    (fetch,) = one.fetches
    assert (fetch.method, fetch.url, fetch.sign) == ("POST", "http://127.0.0.1:9000/reply", "signing")
    assert fetch.body == b'{"text":"Hi","call_id":"CA1","history":[]}'
    assert SECRET not in repr(fetch)
    assert one.peers[0].payload == {"text": "Hi", "call_id": "CA1", "history": []}


@pytest.mark.parametrize("style", ["text", "events"])
def test_it_is_spoken_as_it_comes(style: str) -> None:
    one = posted(style=style)
    one.reply(ask("Hi"))
    assert [at for at, order in one.log if isinstance(order, Text)] == [120_000, 140_000, 160_000]


def test_choosing_to_say_nothing_is_no_failure() -> None:
    for style in ("text", "json", "events"):
        one = posted(reply=lambda payload: [], style=style)
        one.reply(ask("Hi"))
        assert one.gist == ["Replied"]


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        ({"status": 500}, "answered 500"),
        ({"status": 301}, "redirects are not followed"),
        ({"status": 401}, "answered 401"),
        ({"fault": "silent"}, "took longer"),
        ({"fault": "hang", "style": "json"}, "took longer"),
        ({"fault": "drop", "style": "json"}, "reset"),
    ],
)
def test_every_failure_says_so_and_ends_the_reply(peer: dict[str, Any], words: str) -> None:
    one = posted(**peer)
    for n in range(5):  # it is never lost: there is nobody else to ask
        one.reply(ask(f"Hi {n}"))
        assert one.gist[-2:] == ["StageFailed", "Replied"]
    assert words in one.of(StageFailed)[0].detail
    assert len(one.fetches) == 5  # nothing is asked twice
    one.end()


def test_what_breaks_off_was_said_until_there() -> None:
    one = posted(fault="drop")
    one.reply(ask("Hi"))
    assert one.gist == ["text:You said ", "StageFailed", "Replied"]
    one = posted(fault="hang", reply_s=3)
    one.reply(ask("Hi"))
    assert one.gist == ["text:You said Hi.", "StageFailed", "Replied"]
    assert one.when(Replied) == 3.0


def test_thirty_seconds_and_64_kib() -> None:
    one = posted(fault="silent")
    one.reply(ask("Hi"))
    assert one.when(Replied) == 30.0
    for style in ("text", "events"):
        one = posted(reply=lambda payload: ["é" * 1000] * 40, style=style)
        one.reply(ask("Hi"))
        assert len(one.text.encode()) == 64 * 1024
        assert one.gist[-2:] == ["StageFailed", "Replied"]
        one.end()
    one = posted(reply=lambda payload: ["x" * 70_000], style="json")
    one.reply(ask("Hi"))
    assert one.gist[-2:] == ["StageFailed", "Replied"]


def test_a_wrong_secret_is_refused_by_the_server() -> None:
    resolving = Resolving({})
    spec = remote_spec("http://127.0.0.1:9000/reply", "other", resolving)
    assert isinstance(spec, RemoteSpec)
    brain = RemoteBrain(spec, "b", context(), CallSettings())
    one = Talk(brain, lambda n: WebhookPeer(echo, secret=SECRET), secrets=resolving.secrets)
    one.reply(ask("Hi"))
    assert one.gist == ["StageFailed", "Replied"]


def answered(content_type: str, *pieces: bytes, status: int = 200) -> list[BrainOrder]:
    brain = RemoteBrain(RemoteSpec(url="http://h/"), "b", context(), CallSettings())
    brain.reply(0, ask("Hi"))
    orders = brain.handle(1, FetchStarted("b1", status, {"content-type": content_type} if content_type else {}))
    for piece in pieces:
        orders += brain.handle(1, FetchGot("b1", piece))
    return orders + brain.handle(2, FetchEnded("b1"))


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("application/json", b'{"text": "Hi."}', "Hi."),
        ("application/json; charset=utf-8", b'"Hi."', "Hi."),
        ("application/json", b'{"text": null, "other": [1]}', ""),
        ("application/json", b"null", ""),
        ("application/json", b"", ""),
        ("application/problem+json", b'{"text":"Hi."}', "Hi."),
        ("", b"Hi.", "Hi."),
        ("Text/Plain", b"Hi. \xff", "Hi. \ufffd"),
        ("text/plain", b'{"text":"as it is"}', '{"text":"as it is"}'),
        ("text/event-stream", b"data: Hi\n\ndata:  there.\n\ndata: [DONE]\n\n", "Hi there."),
        (
            "text/event-stream",
            b'data: {"text":"Hi."}\n\ndata: {"text":" Bye.","done":true}\n\ndata: late\n\n',
            "Hi. Bye.",
        ),
        ("text/event-stream", b'event: ping\n\ndata: {"note":1}\n\ndata: Hi.', "Hi."),
    ],
)
def test_answers_of_many_shapes(kind: str, body: bytes, text: str) -> None:
    orders = answered(kind, body)
    assert "".join(order.text for order in orders if isinstance(order, Text)) == text
    assert [order for order in orders if not isinstance(order, Text)] == [Replied()]


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("text/html", b"<html>", "text/html"),
        ("application/json", b'{"text": 5}', "JSON"),
        ("application/json", b"[1]", "JSON"),
        ("application/json", b'{"text"', "JSON"),
        ("application/json", b"[" * 5000, "JSON"),
        ("application/json", b'{"error": "no database"}', "no database"),
        ("text/event-stream", b'data: {"error": "no database"}\n\n', "no database"),
        ("text/event-stream", b"event: error\ndata: no database\n\n", "no database"),
    ],
)
def test_answers_that_are_none(kind: str, body: bytes, words: str) -> None:
    orders = [order for order in answered(kind, body) if not isinstance(order, Drop)]
    assert isinstance(orders[0], StageFailed)
    assert words in orders[0].detail
    assert orders[1:] == [Replied()]


def test_stopping_drops_the_request_and_a_body_that_goes_on_is_dropped() -> None:
    one = posted()
    one.start(ask("Hi"))
    one.run(0.13)
    one.stop()
    assert isinstance(one.wire[-1], Drop)
    assert one.brain.deadline is None
    one.reply(ask("Hi again"))
    assert one.text == "You said You said Hi again."
    brain = RemoteBrain(RemoteSpec(url="http://h/"), "b", context(), CallSettings())
    brain.reply(0, ask("Hi"))
    brain.handle(1, FetchStarted("b1", 200, {"content-type": "text/event-stream"}))
    assert brain.handle(2, FetchGot("b1", b'data: {"done":true}\n\n')) == [Replied()]
    assert brain.deadline is not None
    assert brain.tick(brain.deadline) == [Drop("b1")]


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_characters_cut_anywhere(data: bytes, cuts: list[int]) -> None:
    reader = Utf8()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    text = "".join([reader.push(data[a:b]) for a, b in pairwise(edges)]) + reader.end()
    assert text == data.decode("utf-8", "replace")


@settings(max_examples=200)
@given(
    st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b'data: {"done":1}\n\n', b'data: {"text":""}\n\n']))),
    st.sampled_from(["", "application/json", "text/event-stream", "text/plain", "x"]),
    st.sampled_from([200, 204, 302, 404, 500]),
    st.sampled_from(["end", "fail", "tick"]),
)
def test_soup_over_http_never_raises_and_every_reply_ends(
    pieces: list[bytes], kind: str, status: int, last: str
) -> None:
    brain = RemoteBrain(RemoteSpec(url="http://h/"), "b", context(), CallSettings())
    brain.reply(0, ask("Hi"))
    orders = brain.handle(0, FetchStarted("b1", status, {"content-type": kind}))
    for piece in pieces:
        orders += brain.handle(0, FetchGot("b1", piece))
    if last == "end":
        orders += brain.handle(1, FetchEnded("b1"))
    elif last == "fail":
        orders += brain.handle(1, FetchFailed("b1", Fault.TOO_LARGE))
    orders += brain.tick(60_000_000)
    assert sum(isinstance(order, Replied) for order in orders) == 1
    brain.end(60_000_000)
    assert brain.deadline is None


# --- over a WebSocket ------------------------------------------------------------------------------------------------


def linked(reply: Any = echo, reply_s: float = 30, links: Sequence[dict[str, Any]] = (), **peer: Any) -> Talk:
    """``links``: what is different about the first connections."""
    brain = RemoteLinkBrain(
        RemoteLinkSpec(url="ws://127.0.0.1:9000/r"), "reply:", context(), CallSettings(reply_s=reply_s)
    )

    def made(n: int) -> WebhookLinkPeer:
        return WebhookLinkPeer(reply, **{**peer, **(links[n] if n < len(links) else {})})

    return Talk(brain, link=made)


STYLES = pytest.mark.parametrize("style", ["ids", "json", "plain"])


@STYLES
def test_one_connection_carries_the_whole_call(style: str) -> None:
    one = linked(style=style)
    assert isinstance(one.wire[0], OpenLink)  # before anything is asked
    one.reply(ask("Hi"))
    one.reply(ask("Hi", "You said Hi.", "日本"))
    assert one.gist == ["text:You said Hi.", "Replied", "text:You said 日本.", "Replied"]
    assert len(one.peers) == 1
    assert [message["id"] for message in one.peers[0].messages] == ["1", "2"]
    assert one.peers[0].messages[0] == {"type": "message", "id": "1", "text": "Hi", "call_id": "CA1", "history": []}
    one.end()
    assert isinstance(one.wire[-1], CloseLink)
    assert one.peers[0].gone


LONG = ["a ", "b ", "c ", "d ", "e "]


def interrupted(one: Talk, wait: float) -> None:
    """Three words are heard; the caller speaks, and is answered after ``wait`` seconds."""
    one.start(ask("Hi"))
    one.run(0.15)
    one.stop()
    assert one.text == "a b c "
    one.run(wait)
    one.reply(ask("Hi", "a b c", "And?"))


def by_text(payload: dict[str, Any]) -> Sequence[str]:
    return LONG if payload["text"] == "Hi" else ["Then this."]


@STYLES
@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize("wait", [0, 0.03, 0.5, 2])
def test_nothing_of_an_interrupted_reply_is_spoken_as_the_next_one(style: str, heeds: bool, wait: float) -> None:
    one = linked(by_text, style=style, heeds=heeds)
    interrupted(one, wait)
    assert one.text == "a b c Then this."
    assert one.gist[-1] == "Replied"
    assert one.peers[0].messages[1] == {"type": "interrupted", "id": "1", "call_id": "CA1"}
    known = style == "ids" or heeds or wait > 0.03  # it said done before the next question was asked
    assert len(one.peers) == (1 if known else 2)
    one.end()


def test_a_server_that_never_says_done_gets_a_new_connection() -> None:
    one = linked(by_text, style="json", heeds=False, fault="hang")
    one.start(ask("Hi"))
    one.run(0.15)
    one.stop()
    one.run(5)
    assert len(one.peers) == 2
    assert one.peers[0].gone
    one.end()


def test_a_server_known_to_name_its_messages_keeps_its_connection() -> None:
    one = linked(by_text, heeds=False, piece_us=400_000)
    one.reply(ask("And?"))
    one.start(ask("Hi"))
    one.run(0.6)
    one.stop()
    one.reply(ask("And?"))
    assert one.text == "Then this.a b Then this."
    assert len(one.peers) == 1


def test_without_done_the_reply_ends_in_time() -> None:
    one = linked(fault="hang", reply_s=4)
    one.reply(ask("Hi"))
    assert one.gist == ["text:You said Hi.", "StageFailed", "Replied"]
    assert '"done"' in one.of(StageFailed)[0].detail
    assert one.when(Replied) == 4.0


def test_closing_instead_of_done_is_an_end_and_the_next_message_dials() -> None:
    one = linked(fault="close", style="plain")
    one.reply(ask("Hi"))
    one.reply(ask("Hi", "You said Hi.", "Ho"))
    assert one.gist == ["text:You said Hi.", "Replied", "text:You said Ho.", "Replied"]
    assert len(one.peers) == 2


def test_a_connection_that_breaks_in_a_reply_is_a_failure_and_made_again() -> None:
    one = linked(links=[{"fault": "drop"}])
    one.reply(ask("Hi"))
    assert one.gist == ["text:You said ", "StageFailed", "Replied"]
    assert len(one.peers) == 2  # at once, before anything is asked
    assert one.peers[1].messages == []  # and nothing is asked twice
    one.reply(ask("Ho"))
    assert one.gist[-2:] == ["text:You said Ho.", "Replied"]


def test_a_refusal_is_not_argued_with_but_the_next_message_tries_again() -> None:
    one = linked(links=[{"fault": "refuse"}] * 2)
    one.run(60)
    assert len(one.peers) == 1
    one.reply(ask("Hi"))
    assert one.gist == ["StageFailed", "Replied"]
    assert "503" in one.of(StageFailed)[0].detail
    one.reply(ask("Hi"))
    assert one.gist[-2:] == ["text:You said Hi.", "Replied"]
    assert len(one.peers) == 3


def test_nobody_there_is_tried_three_times() -> None:
    brain = RemoteLinkBrain(RemoteLinkSpec(url="ws://h/"), "b", context(), CallSettings())
    orders = brain.begin(0)
    now = 0
    dialled = []
    for _ in range(20):
        links = [order.name for order in orders if isinstance(order, OpenLink)]
        dialled += [(now, name) for name in links]
        orders = brain.handle(now, LinkClosed(links[-1], 1006, fault=Fault.REFUSED)) if links else []
        if brain.deadline is not None and not orders:
            now = brain.deadline
            orders = brain.tick(now)
    assert dialled == [(0, "b1"), (500_000, "b2"), (1_500_000, "b3")]
    orders = brain.reply(now, ask("Hi"))
    assert [type(order) for order in orders] == [OpenLink]
    for name in ("b4", "b5"):
        assert brain.handle(now, LinkClosed(name, 1006, fault=Fault.REFUSED)) == []
        assert brain.deadline is not None
        now = brain.deadline
        brain.tick(now)
    failed, done = brain.handle(now, LinkClosed("b6", 1006, fault=Fault.REFUSED))
    assert isinstance(failed, StageFailed)
    assert "refused" in failed.detail
    assert done == Replied()
    assert brain.deadline is None


def test_a_question_waits_for_the_connection_and_a_stopped_one_is_never_sent() -> None:
    brain = RemoteLinkBrain(RemoteLinkSpec(url="ws://h/"), "b", context(), CallSettings())
    brain.begin(0)
    assert brain.reply(1, ask("Hi")) == []
    assert brain.stop(2) == []
    assert brain.reply(3, ask("Hello")) == []
    (said,) = brain.handle(4, LinkOpened("b1"))
    assert isinstance(said, SayOnLink)
    assert msgspec.json.decode(said.text)["text"] == "Hello"
    assert brain.handle(5, LinkSaid("b1", "Hi.")) == [Text("Hi.")]
    assert brain.handle(6, LinkSaid("b1", '{"done":true}')) == [Replied()]


@pytest.mark.parametrize(
    ("frames", "gist"),
    [
        (["Hi", " there", '{"done":true}'], ["Hi", " there", "Replied"]),
        (['{"text":"Hi","done":true}', '{"text":"late"}'], ["Hi", "Replied"]),
        (['{"text":"Hi","id":1}', '{"done":true,"id":"1"}'], ["Hi", "Replied"]),
        (['{"text":"no","id":"7"}', '{"done":true,"id":"7"}', '{"done":true,"id":"1"}'], ["Replied"]),
        (['{"text":5}', "{nonsense", '{"text":"Hi"}', '{"done":true}'], ["malformed", "Hi", "Replied"]),
        (['{"action":"x"}', '{"text":null}', '{"done":false}', '{"done":true}'], ["Replied"]),
        (["Hi", '{"error":"no database"}', '{"done":true}'], ["Hi", "StageFailed", "Replied"]),
        (["x" * 65_537], ["x" * 65_536, "SayOnLink", "StageFailed", "Replied"]),
        (["[" * 5000, '{"done":true}'], ["[" * 5000, "Replied"]),
    ],
)
def test_what_a_server_may_say(frames: list[str], gist: list[str]) -> None:
    brain = RemoteLinkBrain(RemoteLinkSpec(url="ws://h/"), "b", context(), CallSettings())
    brain.begin(0)
    brain.handle(0, LinkOpened("b1"))
    brain.reply(0, ask("Hi"))
    orders = [order for frame in frames for order in brain.handle(1, LinkSaid("b1", frame))]
    assert [getattr(order, "code", None) or getattr(order, "text", "") if type(order) is Text or hasattr(order, "code")
            else type(order).__name__ for order in orders] == gist  # fmt: skip


SAID = st.one_of(
    st.text(max_size=10),
    st.sampled_from(
        ['{"done":true}', '{"text":"x"}', '{"text":"x","id":"1"}', '{"done":true,"id":2}', '{"error":"e"}']
    ),
)
STEP = st.one_of(
    st.sampled_from(["reply", "stop", "tick", "opened", "tool"]),
    st.tuples(st.just("closed"), st.sampled_from([1000, 1006])),
    st.tuples(st.just("said"), SAID),
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(STEP, max_size=40))
def test_whatever_happens_on_the_link_replies_end_once(steps: list[Any]) -> None:
    brain = RemoteLinkBrain(RemoteLinkSpec(url="ws://h/"), "b", context(), CallSettings())
    link, is_open, asked, now = "", False, False, 0
    dropped: set[str] = set()

    def obey(orders: list[BrainOrder]) -> None:
        nonlocal link, is_open, asked
        for order in orders:
            match order:
                case OpenLink(name):
                    assert not link, "two links at once"
                    link, is_open = name, False
                case CloseLink(name):
                    assert name == link
                    dropped.add(name)
                    link, is_open = "", False
                case SayOnLink(name):
                    assert name == link
                    assert is_open
                case Text():
                    assert asked
                case Replied():
                    assert asked
                    asked = False

    obey(brain.begin(now))
    for step in steps:
        now += 1000
        match step:
            case "reply" if not asked:
                asked = True
                obey(brain.reply(now, ask("Hi")))
            case "stop":
                asked = False
                obey(brain.stop(now))
            case "tick" if brain.deadline is not None:
                now = max(now, brain.deadline)
                obey(brain.tick(now))
            case "opened" if link and not is_open:
                is_open = True
                obey(brain.handle(now, LinkOpened(link)))
            case "tool":
                obey(brain.tool_answered(now, ToolAnswered("x", "y")))
            case ("closed", code) if link:
                gone, link, is_open = link, "", False
                obey(brain.handle(now, LinkClosed(gone, code)))
            case ("said", text) if is_open:
                obey(brain.handle(now, LinkSaid(link, text)))
        assert all(brain.handle(now, LinkSaid(name, "late")) == [] for name in dropped)
    for _ in range(20):
        if asked and brain.deadline is not None:
            now = brain.deadline
            obey(brain.tick(now))
    assert not asked
    obey(brain.end(now))
    assert (link, brain.deadline) == ("", None)


# --- the URL ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/x", "http://localhost/x?y=1", "http://[::1]:9000", "https://10.0.0.5/reply",
        "http://192.168.1.2", "https://example.com", "https://example.com./x", "http://[fd12::1]/",
    ],
)  # fmt: skip
def test_what_the_operator_wrote_is_where_it_goes(url: str) -> None:
    assert remote_spec(url, "", Resolving({})) == RemoteSpec(url=url)
    link = url.replace("http", "ws", 1)
    assert remote_spec(f" {link} ", "", Resolving({})) == RemoteLinkSpec(url=link)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://example.com", "begin with"),
        ("example.com/reply", "begin with"),
        ("", "begin with"),
        ("http://", "no host"),
        ("http:///x", "no host"),
        ("http://user:hunter2@example.com/", "credentials"),
        ("https://example.com/#part", "#"),
        ("http://example.com:99999/", "no URL"),
        ("http://[::1/", "no URL"),
        ("http://exa mple.com/", "percent-encode"),
        ("http://example.com/\r\nX: y", "percent-encode"),
        ("http://exämple.com/", "percent-encode"),
        ("http://example.com\\@evil.example/", ""),
        ("http://169.254.169.254/latest/meta-data", "credentials"),
        ("ws://169.254.170.2/", "credentials"),
        ("http://169.254.169.254./", "credentials"),
        ("http://[::ffff:169.254.169.254]/", "credentials"),
        ("http://[64:ff9b::a9fe:a9fe]/", "credentials"),
        ("http://[2002:a9fe:a9fe::1]/", "credentials"),
        ("http://[fe80::1%25eth0]/", "credentials"),
        ("http://[fd00:ec2::254]/", "credentials"),
        ("http://100.100.100.200/", "credentials"),
        ("http://metadata.google.internal/x", "credentials"),
        ("http://METADATA.google.internal./x", "credentials"),
        ("http://2852039166/", "four numbers"),
        ("http://0xA9FEA9FE/", "four numbers"),
        ("http://0251.0376.0251.0376/", "four numbers"),
        ("http://127.1/", "four numbers"),
        ("http://0.0.0.0:9000/", "127.0.0.1"),
        ("http://[::]/", "127.0.0.1"),
        ("http://224.0.0.1/", "of many"),
        ("http://255.255.255.255/", "of many"),
    ],
)
def test_where_it_must_not_go(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match="on_message") as caught:
        remote_spec(url, "", Resolving({}))
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_what_is_no_url_or_no_secret() -> None:
    with pytest.raises(ConfigError, match="function or a URL"):
        remote_spec(5, "", Resolving({}))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="secret"):
        remote_spec("http://h/", b"x", Resolving({}))  # type: ignore[arg-type]


def test_the_secret_goes_to_the_table_and_nowhere_else() -> None:
    resolving = Resolving({})
    spec = remote_spec("https://example.com/r", SECRET, resolving)
    assert spec == RemoteSpec(url="https://example.com/r", sign="signing")
    assert resolving.secrets == {"signing": ("", SECRET)}
    link = remote_spec("wss://example.com/r", SECRET, resolving)
    assert isinstance(link, RemoteLinkSpec)
    proof = hmac.new(SECRET.encode(), b"wss://example.com/r", hashlib.sha256).hexdigest()
    assert resolving.secrets[link.auth] == ("X-Patter-Signature", proof)
    assert SECRET not in repr(spec) + repr(link)
    for one in (spec, link):
        assert msgspec.convert(msgspec.to_builtins(one), type(one)) == one


def test_the_upgrade_carries_the_proof() -> None:
    resolving = Resolving({})
    spec = remote_spec("ws://127.0.0.1/r", SECRET, resolving)
    assert isinstance(spec, RemoteLinkSpec)
    brain = RemoteLinkBrain(spec, "b", context(), CallSettings())
    one = Talk(brain, link=lambda n: WebhookLinkPeer(echo), secrets=resolving.secrets)
    proof = hmac.new(SECRET.encode(), b"ws://127.0.0.1/r", hashlib.sha256).hexdigest()
    assert one.peers[0].headers["X-Patter-Signature"] == proof


def test_the_request_is_the_same_every_time() -> None:
    one, two = posted(), posted()
    one.reply(ask("Hi"))
    two.reply(ask("Hi"))
    assert one.fetches == two.fetches
    assert all(isinstance(fetch, Fetch) for fetch in one.fetches)
