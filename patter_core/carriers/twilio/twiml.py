"""TwiML, the XML that tells Twilio what to do with a call: written for answers, read by the simulator.

Source: twilio.com/docs/voice/twiml. One line, UTF-8 declaration, what a verb needs and nothing else. A ``<Stream>``'s
query string is not forwarded by Twilio, so a stream URL must not have one: ``<Parameter>`` or the path carry data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias
from xml.etree import ElementTree

import msgspec

__all__ = [
    "MAX_INLINE",
    "MAX_PARAMETER",
    "MAX_TWIML",
    "Conference",
    "Connect",
    "Dial",
    "Hangup",
    "Number",
    "Pause",
    "Redirect",
    "Reject",
    "Say",
    "Sip",
    "Unknown",
    "Verb",
    "connect_stream",
    "consult",
    "hang_up",
    "join_room",
    "read_twiml",
    "reject",
    "say_and_hang_up",
    "transfer",
    "write_twiml",
]

MAX_PARAMETER = 499
"""Twilio wants a ``<Parameter>``'s name and value below 500 characters together."""

MAX_TWIML = 64 * 1024
"""The largest document ``read_twiml`` looks at: what Twilio accepts from a webhook."""

MAX_INLINE = 4000
"""The longest ``Twiml`` Twilio takes in a REST request."""


class Connect(msgspec.Struct, frozen=True, tag=True):
    """``<Connect><Stream>``: a two-way stream. What follows runs only after the server closes the socket."""

    url: str
    parameters: dict[str, str] = {}
    action: str = ""
    status_callback: str = ""


class Reject(msgspec.Struct, frozen=True, gc=False, tag=True):
    """``<Reject>``: do not answer. ``busy`` or ``rejected``. Costs nothing."""

    reason: str = "rejected"


class Say(msgspec.Struct, frozen=True, gc=False, tag=True):
    """``<Say>``: the carrier's own voice."""

    text: str
    language: str = ""


class Hangup(msgspec.Struct, frozen=True, gc=False, tag=True):
    """``<Hangup>``."""


class Pause(msgspec.Struct, frozen=True, gc=False, tag=True):
    """``<Pause>``, whole seconds."""

    length_s: int = 1


class Number(msgspec.Struct, frozen=True, gc=False, tag=True):
    """``<Number>``: a telephone number to dial, E.164. ``events`` of that leg are reported to ``status_callback``."""

    number: str
    status_callback: str = ""
    events: tuple[str, ...] = ()


class Sip(msgspec.Struct, frozen=True, gc=False, tag=True):
    """``<Sip>``: a SIP address to dial, ``sip:name@host``; with reports of that leg like ``Number``'s."""

    uri: str
    status_callback: str = ""
    events: tuple[str, ...] = ()


class Conference(msgspec.Struct, frozen=True, gc=False, tag=True):
    """``<Conference>``: a room. Who enters with ``starts=False`` waits, with music, for somebody who starts it; when
    somebody leaves who entered with ``ends=True``, the room is closed and everybody else leaves it too.

    ``events`` (``start end join leave ...``) are reported to ``status_callback``, of whoever came first only. Source:
    twilio.com/docs/voice/twiml/conference.
    """

    room: str
    starts: bool = True
    ends: bool = False
    beep: bool = True
    status_callback: str = ""
    events: tuple[str, ...] = ()


class Dial(msgspec.Struct, frozen=True, gc=False, tag=True):
    """``<Dial>`` of one leg or room. ``action`` is fetched when that leg ends; without one the next verb runs.

    ``timeout_s`` is how long it rings (None: Twilio's 30 s). ``answer_on_bridge`` leaves a caller who is not answered
    yet ringing until then. For a room, the ``action`` is told ``answered`` whether anybody else was there or not.
    """

    to: Number | Sip | Conference
    action: str = ""
    caller_id: str = ""
    timeout_s: int | None = None
    answer_on_bridge: bool = False


class Redirect(msgspec.Struct, frozen=True, gc=False, tag=True):
    """``<Redirect>``: fetch other TwiML."""

    url: str
    method: str = "POST"


class Unknown(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A verb, or a use of one, that this reader does not model. Never written."""

    name: str


Verb: TypeAlias = Connect | Reject | Say | Hangup | Pause | Dial | Redirect | Unknown


# --- writing ---------------------------------------------------------------------------------------------------------


def connect_stream(
    url: str,
    parameters: Mapping[str, str],
    action: str = "",
    after: Sequence[Verb] = (),
    status_callback: str = "",
) -> str:
    """Answer by connecting the call to the WebSocket at ``url``; ``after`` runs once that socket is closed by us.
    ``status_callback`` is told when the stream starts, stops and fails.

    A parameter whose name and value are too long for Twilio together is left out whole: half a value would look like a
    value. The same for one without a name. ``url`` is ``wss://`` (``ws://`` for a simulated carrier; Twilio itself
    refuses it with error 31922) without query and fragment, else ``ValueError``.
    """
    if not url.startswith(("wss://", "ws://")) or "?" in url or "#" in url:
        raise ValueError("a stream URL is wss://, without query or fragment")
    return write_twiml([Connect(url, dict(parameters), action, status_callback), *after])


def reject(reason: str = "busy") -> str:
    """Refuse the call before answering it: ``busy`` or ``rejected``."""
    if reason not in ("busy", "rejected"):
        raise ValueError("reason is busy or rejected")
    return write_twiml([Reject(reason)])


def say_and_hang_up(text: str, language: str = "") -> str:
    """Say ``text`` in Twilio's voice, then hang up. ``language`` is a tag such as ``de`` or ``de-DE``; else en-US."""
    return write_twiml([Say(text, _locale(language)), Hangup()])


def transfer(to: str, action: str, caller_id: str = "", timeout_s: int | None = None, status_callback: str = "") -> str:
    """Send the caller to ``to``, a number or ``sip:`` address; ``action`` is asked what to do with them afterwards.
    ``status_callback`` is told when that leg is answered and when it is over: a caller who hangs up meanwhile ends it,
    and nothing says that ``action`` is asked then."""
    events = ("answered", "completed") if status_callback else ()
    sip = to[:5].lower().startswith(("sip:", "sips:"))
    noun = Sip(to, status_callback, events) if sip else Number(to, status_callback, events)
    return write_twiml([Dial(noun, action, caller_id, timeout_s)])


def consult(text: str, language: str, room: str, status_callback: str) -> str:
    """For a leg that is consulted: hear ``text``, then wait in ``room``, which is closed when this leg leaves it."""
    waiting = Conference(room, False, True, False, status_callback, ("start", "end", "join", "leave"))
    return write_twiml([Say(text, _locale(language)), Dial(waiting)])


def join_room(room: str, action: str) -> str:
    """For the caller: enter ``room``, which starts it and is what its waiting leg waits for; closed on leaving."""
    return write_twiml([Dial(Conference(room, True, True, False), action)])


def hang_up() -> str:
    """End the call."""
    return write_twiml([Hangup()])


def write_twiml(verbs: Iterable[Verb]) -> str:
    """One document of these verbs, in order."""
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{"".join(map(_verb, verbs))}</Response>'


def _verb(verb: Verb) -> str:
    match verb:
        case Connect(url, parameters, action, status_callback):
            inner = "".join(
                _element("Parameter", {"name": name, "value": value})
                for name, value in parameters.items()
                if name and len(name) + len(value) <= MAX_PARAMETER
            )
            stream = _element("Stream", {"url": url, "statusCallback": status_callback}, inner)
            return _element("Connect", {"action": action}, stream)
        case Reject(reason):
            return _element("Reject", {"reason": reason})
        case Say(text, language):
            return _element("Say", {"language": language}, _text(text))
        case Hangup():
            return _element("Hangup", {})
        case Pause(length_s):
            return _element("Pause", {"length": str(length_s)})
        case Dial():
            attributes = {
                "action": verb.action,
                "callerId": verb.caller_id,
                "timeout": "" if verb.timeout_s is None else str(verb.timeout_s),
                "answerOnBridge": "true" if verb.answer_on_bridge else "",
            }
            return _element("Dial", attributes, _noun(verb.to))
        case Redirect(url, method):
            return _element("Redirect", {"method": method}, _text(url))
        case Unknown(name):
            raise ValueError(f"cannot write {name}")


def _noun(noun: Number | Sip | Conference) -> str:
    match noun:
        case Number(text, url, events) | Sip(text, url, events):
            attributes = {"statusCallbackEvent": " ".join(events), "statusCallback": url}
            return _element(type(noun).__name__, attributes, _text(text))
        case Conference():
            attributes = {
                "startConferenceOnEnter": _boolean(noun.starts),
                "endConferenceOnExit": _boolean(noun.ends),
                "beep": _boolean(noun.beep),
                "statusCallback": noun.status_callback,
                "statusCallbackEvent": " ".join(noun.events),
            }
            return _element("Conference", attributes, _text(noun.room))


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _element(name: str, attributes: Mapping[str, str], inner: str = "") -> str:
    # An empty attribute is one not given, but a <Parameter> may well have an empty value.
    written = "".join(f' {key}="{_attribute(value)}"' for key, value in attributes.items() if value or key == "value")
    return f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written} />"


# What XML 1.0 cannot carry, escaped or not: most control characters, lone surrogates, two non-characters.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IN_TEXT = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("\r"): "&#13;"}
# Unescaped line ends and tabs in an attribute would be read back as spaces.
_IN_ATTRIBUTE = _IN_TEXT | {ord('"'): "&quot;", ord("\n"): "&#10;", ord("\t"): "&#9;"}


def _text(text: str) -> str:
    return _FORBIDDEN.sub("", text).translate(_IN_TEXT)


def _attribute(text: str) -> str:
    return _FORBIDDEN.sub("", text).translate(_IN_ATTRIBUTE)


# Twilio's voices want a region; a bare language gets its usual one, anything else goes out as it is.
_REGIONS = {
    "cs": "cs-CZ",
    "da": "da-DK",
    "de": "de-DE",
    "en": "en-US",
    "es": "es-ES",
    "fi": "fi-FI",
    "fr": "fr-FR",
    "hi": "hi-IN",
    "it": "it-IT",
    "ja": "ja-JP",
    "ko": "ko-KR",
    "nb": "nb-NO",
    "nl": "nl-NL",
    "pl": "pl-PL",
    "pt": "pt-BR",
    "ru": "ru-RU",
    "sv": "sv-SE",
    "tr": "tr-TR",
    "zh": "zh-CN",
}


def _locale(language: str) -> str:
    return _REGIONS.get(language.lower(), language)


# --- reading ---------------------------------------------------------------------------------------------------------


def read_twiml(xml: str) -> list[Verb]:
    """The verbs of a document. Raises ``ValueError`` for anything that is not a bounded, DTD-free ``<Response>``.

    Without a document type declaration there are no entities to expand; so the declaration itself is refused, wherever
    the text has one.
    """
    if len(xml) > MAX_TWIML:
        raise ValueError(f"TwiML longer than {MAX_TWIML} characters")
    if "<!DOCTYPE" in xml:
        raise ValueError("TwiML with a document type declaration")
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"TwiML is not XML: {error}") from None
    if root.tag != "Response":
        raise ValueError("TwiML is a <Response>")
    return [_read(element) for element in root]


def _read(element: ElementTree.Element) -> Verb:
    text = "".join(element.itertext()).strip()
    match element.tag:
        case "Connect":
            stream = element.find("Stream")
            if stream is None:
                return Unknown("Connect")
            parameters = {one.get("name", ""): one.get("value", "") for one in stream.findall("Parameter")}
            reports = stream.get("statusCallback", "")
            return Connect(stream.get("url", ""), parameters, element.get("action", ""), reports)
        case "Reject":
            return Reject(element.get("reason", "rejected"))
        case "Say":
            return Say(text, element.get("language", ""))
        case "Hangup":
            return Hangup()
        case "Pause":
            length = element.get("length", "1")
            return Pause(int(length)) if re.fullmatch("[0-9]{1,5}", length) else Unknown("Pause")
        case "Dial":
            return _read_dial(element, text)
        case "Redirect":
            return Redirect(text, element.get("method", "POST"))
        case tag:
            return Unknown(str(tag))


def _words(element: ElementTree.Element, name: str) -> tuple[str, ...]:
    return tuple(element.get(name, "").split())


def _read_dial(element: ElementTree.Element, text: str) -> Verb:
    timeout = element.get("timeout", "")
    if len(element) > 1 or (timeout and not re.fullmatch("[0-9]{1,5}", timeout)):  # several at once: not modelled
        return Unknown("Dial")
    child = element[0] if len(element) else None
    noun: Number | Sip | Conference
    told = ("", ()) if child is None else (child.get("statusCallback", ""), _words(child, "statusCallbackEvent"))
    match "Number" if child is None else child.tag:
        case "Number":
            noun = Number(text, *told)
        case "Sip":
            noun = Sip(text, *told)
        case "Conference" if child is not None:
            noun = Conference(
                text,
                _flag(child, "startConferenceOnEnter", True),
                _flag(child, "endConferenceOnExit", False),
                child.get("beep", "true").lower() != "false",
                child.get("statusCallback", ""),
                _words(child, "statusCallbackEvent"),
            )
        case _:
            return Unknown("Dial")
    return Dial(
        noun,
        element.get("action", ""),
        element.get("callerId", ""),
        int(timeout) if timeout else None,
        _flag(element, "answerOnBridge", False),
    )


def _flag(element: ElementTree.Element, name: str, default: bool) -> bool:
    return element.get(name, _boolean(default)).lower() == "true"
