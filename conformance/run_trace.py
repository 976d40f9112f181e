"""Call traces against ``patter_core``: ``run(case)`` says what is wrong, or None.

``schema/trace.schema.json`` says what a trace is and lists the matchers. A case that names ``carriers`` is run on each;
``each(case)`` are the cases it stands for (``trace_carriers``).
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import msgspec

from patter_core.audio import ulaw_decode
from patter_core.audio.formats import AudioFormat, Encoding
from patter_core.call import words
from patter_core.call.call import Call
from patter_core.call.spec import CallSpec
from patter_core.carriers.carrier import DialPlan, RecordingStep, RestOutcome
from patter_core.config import AgentSpec, EchoSpec, EngineSpec, HandlerSpec, PipelineSpec
from patter_core.contract import Fault
from patter_core.engines.policy import ToolSpec
from patter_core.providers.keys import Resolving
from patter_core.providers.local import CallableBrain, CallableEar, CallableVoice
from patter_core.reasons import EndReason
from patter_core.settings import CallSettings

from .run_providers import message, option
from .trace_carriers import STREAM_URL, CarrierSide, each

__all__ = ["each", "perform", "run"]

_KINDS = {"string": str, "number": int | float, "object": dict, "list": list, "boolean": bool}
_WAKE_UPS = 100_000
"""Wake-ups between two steps before a machine counts as spinning."""


# --- config ----------------------------------------------------------------------------------------------------------


def _settings(limits: dict[str, int]) -> CallSettings:
    fields = CallSettings.__struct_fields__
    given: dict[str, Any] = {
        f"{name}_s" if f"{name}_s" in fields else name: _limit(name, value) for name, value in limits.items()
    }
    return CallSettings(**given)


def _limit(name: str, value: int) -> float:
    return value / 1000 if f"{name}_s" in CallSettings.__struct_fields__ else value


def _engine(config: dict[str, Any]) -> EngineSpec:
    match config["engine"]:
        case "echo":
            return EchoSpec()
        case "pipeline":
            return PipelineSpec(
                brain=(_stage(config, "brain", CallableBrain(HandlerSpec("reply"))),),
                voice=(_stage(config, "voice", CallableVoice(HandlerSpec("tts"), _l16(config.get("tts_rate", 8000)))),),
                ear=(_stage(config, "ear", CallableEar(HandlerSpec("stt"), _l16(config.get("stt_rate", 8000)))),),
                fallback_text=config.get("fallback", "Sorry."),
            )
    fallback = {
        "fallback_text" if config["engine"] == "openai_realtime" else "apology": config.get("fallback", "Sorry.")
    }
    made: EngineSpec = option(config["engine"], fallback | config.get("options", {}), Resolving({}))
    return made


def _stage(config: dict[str, Any], stage: str, otherwise: Any) -> Any:
    """A provider's, or the handler of a trace that names none."""
    if stage not in config:
        return otherwise
    return option(config[stage]["provider"], config[stage].get("options", {}), Resolving({}))


def _l16(rate: int) -> AudioFormat:
    return AudioFormat(Encoding.L16, rate)


def _tool(tool: dict[str, Any]) -> ToolSpec:
    """Its handler has its name."""
    return ToolSpec(handler=None if tool.get("built_in") else HandlerSpec(tool["name"]), **tool)


def _spec(config: dict[str, Any]) -> CallSpec:
    allow = config.get("transfer_allow")
    agent = AgentSpec(
        engine=_engine(config),
        system_prompt=config.get("system_prompt", ""),
        first_message=config.get("first_message", ""),
        language=config.get("language", "en"),
        barge_in_threshold_ms=config.get("barge_in_threshold", 300),
        transfer_allow=None if allow is None else tuple(allow),
        transfer_refused_message=config.get("transfer_refused", "Refused."),
        transfer_failed_message=config.get("transfer_failed", "Failed."),
        callbacks={name: HandlerSpec(name) for name in config.get("callbacks", ())},
        tools=tuple(map(_tool, config.get("tools", ()))),
    )
    webhooks = f"https://agent.example/webhooks/{config['carrier']}"
    return CallSpec(
        call_id=config["call_id"],
        carrier=config["carrier"],
        agent=agent,
        caller=config.get("caller", ""),
        callee=config.get("callee", ""),
        direction="outbound" if "dial" in config else "inbound",
        account=config.get("account", ""),
        webhooks=webhooks,
        dial=_dial(config, webhooks) if "dial" in config else None,
        recording=config.get("recording", False),
        recording_announcement=config.get("recording_announcement", ""),
        voicemail_message=config.get("voicemail_message", ""),
        settings=_settings(config.get("limits", {})),
    )


def _dial(config: dict[str, Any], webhooks: str) -> DialPlan:
    dial = config["dial"]
    return DialPlan(
        to=config["callee"],
        caller_id=config["caller"],
        webhooks=webhooks,
        ref=config["call_id"],
        ring_timeout_s=dial.get("ring_timeout", 25_000) // 1000,
        machine_detection=dial.get("machine_detection", False),
    )


# --- facts -----------------------------------------------------------------------------------------------------------

_LOUD = bytes([0x90] * 10 + [0x10] * 10)


def _sound(given: dict[str, Any], linear: int) -> bytes:
    """``$audio_ms``: mu-law at 8 kHz, or with ``linear`` or a ``rate`` of its own that rate's 16-bit samples; of them
    only those ``bytes`` where it says so."""
    ms: int = given["$audio_ms"]
    whole: bytes
    if rate := given.get("rate", linear):
        half = rate // 800
        loud = ulaw_decode(_LOUD[:1]) * half + ulaw_decode(_LOUD[-1:]) * half
        whole = (loud * (ms * rate // 1000 // half + 1))[: ms * rate // 1000 * 2]
        whole = whole if given.get("sound") == "voice" else bytes(len(whole))
    elif given.get("sound") == "voice":
        whole = (_LOUD * (ms * 8 // 20 + 1))[: ms * 8]
    else:
        whole = b"\xff" * (ms * 8)
    start, end = given.get("bytes", (0, len(whole)))
    return whole[start:end]


class _Bound(dict[str, Any]):
    """What ``$bind`` stands for, so far."""


def _resolve(given: Any, bound: _Bound, linear: int) -> Any:
    if isinstance(given, dict):
        if "$bind" in given:
            return bound[given["$bind"]]
        if "$audio_ms" in given:
            return b64encode(_sound(given, linear)).decode("ascii")
        return {name: _resolve(value, bound, linear) for name, value in given.items()}
    if isinstance(given, list):
        return [_resolve(value, bound, linear) for value in given]
    return given


def _fact(given: dict[str, Any], bound: _Bound, config: dict[str, Any], side: CarrierSide) -> words.CallFact:
    linear = config.get("tts_rate", 8000) if given["type"] == "task_audio" else 0
    if given["type"] == "stream_said" and side.hears.encoding is Encoding.L16:
        linear = side.hears.rate
    fact = _resolve(given, bound, linear)
    match fact["type"]:
        case "begun":
            dialled = "dial" in config
            return words.Begun("" if dialled else STREAM_URL, "" if dialled else "ticket")
        case "stream_minted":
            return words.StreamMinted(fact.get("url", STREAM_URL), "ticket")
        case "reported":
            return side.reports(fact)
        case "stream_came":
            side.came()
            return words.StreamCame()
        case "stream_said":
            return words.CarrierSaid(side.says(fact))
        case "carrier_said":
            text = fact["text"]
            return words.CarrierSaid(text if isinstance(text, str) else json.dumps(text))
        case "stream_went":
            return words.StreamWent(fact["code"])
        case "pressure":
            return words.Pressure(fact["high"])
        case "link_opened":
            return words.LinkOpened(fact["name"])
        case "link_said":
            text = fact["text"]
            return words.LinkSaid(fact["name"], text if isinstance(text, str) else json.dumps(text))
        case "link_closed":
            fault = Fault(fact["fault"]) if "fault" in fact else None
            return words.LinkClosed(
                fact["name"], fact.get("code", 1006), fact.get("reason", ""), fact.get("status", 0), fault
            )
        case "fetch_started":
            return words.FetchStarted(fact["name"], fact["status"], fact.get("headers", {}))
        case "fetch_got":
            data = b64decode(fact["audio"]) if "audio" in fact else fact["text"].encode()
            return words.FetchGot(fact["name"], data)
        case "fetch_ended":
            return words.FetchEnded(fact["name"])
        case "fetch_failed":
            return words.FetchFailed(fact["name"], Fault(fact["fault"]))
        case "task_yielded":
            return words.TaskYielded(fact["name"], fact["value"])
        case "task_audio":
            return words.TaskAudio(fact["name"], b64decode(fact["audio"]))
        case "task_returned":
            return words.TaskReturned(fact["name"], fact.get("value"))
        case "task_raised":
            return words.TaskRaised(fact["name"], Fault.USER, "raised")
        case "rest_done":
            outcome = None if fact["outcome"] is None else RestOutcome(fact["outcome"])
            return words.RestDone(fact["name"], outcome, "", fact.get("value", ""), fact.get("safe", False))
        case "end_wanted":
            return words.EndWanted(EndReason(fact["reason"]), fact.get("keep_stream", False), fact.get("gently", False))
        case "transfer_wanted":
            return words.TransferWanted(
                fact["to"], fact.get("summary", ""), fact.get("by_model", False), fact.get("ask", "")
            )
        case "keys_wanted":
            return words.KeysWanted(fact["digits"], fact.get("gap", 300), fact.get("ask", ""))
        case "collect_wanted":
            return words.CollectWanted(fact["ask"], fact["most"], fact["terminator"], fact["timeout"] / 1000)
        case "recording_wanted":
            return words.RecordingWanted(RecordingStep(fact["step"]), fact.get("ask", ""))
        case "leg_ended":
            return words.LegEnded()
        case "say_wanted":
            return words.SayWanted(fact["text"])
        case "hurried":
            return words.Hurried()
        case "tick":
            return words.Ticked()
    raise AssertionError(f"no fact {fact['type']}")


# --- orders ----------------------------------------------------------------------------------------------------------


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        fields = {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
        return {"type": _snake(type(value).__name__), **fields}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _order(order: words.CallOrder, side: CarrierSide | None) -> dict[str, Any]:
    match order:
        case words.ToCarrier(text) if side is not None:
            return side.told(text)
        case words.Rest(name, request) if side is not None:
            return side.asked(name, request)
        case words.ToCarrier(text):
            return {"type": "to_carrier", "text": json.loads(text)}
        case words.Rest(name, request):
            form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
            return {"type": "rest", "name": name, "method": request.method, "url": request.url, "form": form}
        case words.Run(name, _, handler, args):
            return {"type": "run", "name": name, "handler": handler, "args": _plain(args)}
        case words.SayOnLink(name, text):
            return {"type": "say_on_link", "name": name, "text": message(text)}
        case words.SendOnLink(name, data):
            return {"type": "send_on_link", "name": name, "audio": b64encode(data).decode("ascii")}
        case words.Fetch(body=body):
            fetch: dict[str, Any] = _plain(order)
            return fetch | {"body": _body(body)}
    found: dict[str, Any] = _plain(order)
    return found


def _body(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return b64encode(body).decode("ascii")


def _media(order: dict[str, Any]) -> tuple[dict[str, Any], str] | None:
    """Where an order holds audio, and under which name."""
    if order["type"] == "to_stream" and order["event"] == "media":
        return order, "audio"
    if order["type"] == "to_carrier" and order["text"]["event"] == "media":
        return order["text"]["media"], "payload"
    if order["type"] == "send_on_link":
        return order, "audio"
    if order["type"] == "say_on_link" and isinstance(order["text"], dict):
        held = _CALLER_AUDIO.get(order["text"].get("type", ""), "")
        return (order["text"], held) if held in order["text"] else None
    return None


_CALLER_AUDIO = {"input_audio_buffer.append": "audio", "": "user_audio_chunk"}
"""Where the caller's audio is in a link's messages, by their type."""


def _merged(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Audio in adjacent messages is one piece of audio: how it is cut is not protocol."""
    out: list[dict[str, Any]] = []
    for order in orders:
        more, before = _media(order), _media(out[-1]) if out else None
        if more is not None and before is not None and order.get("name") == out[-1].get("name"):
            (holder, name), (source, its) = before, more
            holder[name] = b64encode(b64decode(holder[name]) + b64decode(source[its])).decode()
        else:
            out.append(order)
    return out


# --- comparing -------------------------------------------------------------------------------------------------------


def _differs(found: Any, expected: Any, bound: _Bound, linear: int, where: str) -> str | None:
    if isinstance(expected, dict):
        if "$any" in expected:
            right = isinstance(found, _KINDS[expected["$any"]])
            return None if right else f"{where}: {found!r} is no {expected['$any']}"
        if "$bind" in expected:
            known = bound.setdefault(expected["$bind"], found)
            return None if known == found else f"{where}: {found!r} is not {expected['$bind']} ({known!r})"
        if "$audio_ms" in expected:
            return _other_sound(found, expected, linear, where)
        if not isinstance(found, dict) or ("type" not in expected and found.keys() != expected.keys()):
            return f"{where}: {found!r} instead of {expected!r}"
        for name, value in expected.items():
            if name not in found:
                return f"{where}: no {name} in {found!r}"
            if (problem := _differs(found[name], value, bound, linear, f"{where}/{name}")) is not None:
                return problem
        return None
    if isinstance(expected, list) and isinstance(found, list):
        if len(found) != len(expected):
            return f"{where}: {len(found)} instead of {len(expected)}: {json.dumps(found)[:2000]}"
        pairs = enumerate(zip(found, expected, strict=True))
        problems = (_differs(a, b, bound, linear, f"{where}/{n}") for n, (a, b) in pairs)
        return next((problem for problem in problems if problem is not None), None)
    if isinstance(expected, str) and isinstance(found, str) and expected.startswith("<") and found.startswith("<"):
        expected, found = ElementTree.canonicalize(expected), ElementTree.canonicalize(found)
    same = found == expected and isinstance(found, bool) is isinstance(expected, bool)
    return None if same else f"{where}: {found!r} instead of {expected!r}"


def _other_sound(found: Any, expected: dict[str, Any], linear: int, where: str) -> str | None:
    if not isinstance(found, str):
        return f"{where}: {found!r} is no audio"
    audio, ms = b64decode(found), expected["$audio_ms"]
    if "sound" in expected:
        return (
            None
            if audio == _sound(expected, expected.get("rate", 0))
            else f"{where}: other audio, {len(audio) // 8} ms"
        )
    linear = expected.get("rate", linear)
    length = ms * linear // 1000 * 2 if linear else ms * 8
    return None if len(audio) == length else f"{where}: {len(audio)} bytes of audio instead of {length} ({ms} ms)"


# --- running ---------------------------------------------------------------------------------------------------------


def _times(step: dict[str, Any]) -> Iterator[int]:
    for n in range(step.get("times", 1)):
        yield (step["at_ms"] + n * step.get("every_ms", 0)) * 1000


def perform(case: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]], int | None, _Bound]]:
    """The steps with what the machine ordered and when it wants to be woken (in milliseconds, rounded up), and what is
    bound: whoever compares a step binds the names the next one may need."""
    config, bound = case["config"], _Bound()
    call, side = Call(0, _spec(config)), CarrierSide(config)
    reads = side if "on" in case else None
    for step in case["steps"]:
        orders: list[dict[str, Any]] = []
        for at in _times(step):
            for _ in range(_WAKE_UPS):
                deadline = call.deadline
                if deadline is None or deadline > at:
                    break
                orders += [_order(order, reads) for order in call.handle(deadline, words.Ticked())]
            else:
                raise AssertionError(f"spinning at {at} us")
            fact = _fact(step["in"], bound, config, side)
            orders += [_order(order, reads) for order in call.handle(at, fact)]
        deadline = call.deadline
        wake = None if deadline is None else -(-deadline // 1000)
        yield step, _merged(orders), wake, bound


def run(case: dict[str, Any]) -> str | None:
    """What is wrong with our answers, or None."""
    if "carriers" in case:
        problems = ((one["id"], run(one)) for one in each(case))
        return next((f"{name}: {problem}" for name, problem in problems if problem is not None), None)
    config = case["config"]
    for number, (step, found, wake, bound) in enumerate(perform(case)):
        where = f"step {number} ({step['at_ms']} ms)"
        expected = step["out"]
        if len(found) != len(expected):
            kinds = [order["type"] for order in found]
            return f"{where}: {kinds} instead of {[order['type'] for order in expected]}: {json.dumps(found)[:3000]}"
        for n, (order, wanted) in enumerate(zip(found, expected, strict=True)):
            linear = config.get("stt_rate", 8000) if order["type"] == "run" else order.get("linear", 0)
            if (problem := _differs(order, wanted, bound, linear, f"{where} out/{n}")) is not None:
                return problem
        if "wake_ms" in step and step["wake_ms"] != wake:
            return f"{where}: wakes at {wake} instead of {step['wake_ms']}"
    return None
