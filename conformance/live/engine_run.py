"""One run of ``conformance.live.engines``: three parties, what each saw, and whether it was right.

The server and the providers are processes of their own; the carrier and its caller are in this one.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from patter_core.audio.formats import PCMU_8K
from patter_core.audio.vad import EnergyVad, SpeechStarted
from patter_core.edge.sockets import listen
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.events import SimCallDone, SimProblem

from .carriers import ACCOUNT, CONNECTION, SEED, TOKEN
from .engine_story import FIRST, acts, links_of, replies, scripted_ms, words
from .target import PUBLIC_HOST

__all__ = ["CallSeen", "Run", "Silence", "run"]

PATIENCE_S = 30.0
_GAP_MS = 300  # within what one says; the caller's recordings have no pause as long
_FRAME_BYTES, _FRAME_MS = 160, 20
_QUIET = (0xFF, 0x7F, 0xFE, 0x7E)
_UNDER_WAY_MS = 400  # of the caller's last words, lost on the way when they hang up
_BENIGN = ("response_cancel_not_active",)
"""The service and the server may both have stopped the same answer, or it was all there already."""
_TROUBLE = (
    "Bug", "CallbackDropped", "CallbackFailed", "CallbackTimedOut", "FramesDropped", "HangUpFailed",
    "MalformedMessage", "OrderRefused", "ProviderReported", "ProviderSwitched", "Refused", "SpeechFailed",
)  # fmt: skip


class Silence(msgspec.Struct, frozen=True):
    """From the caller's last sound to the answer's first, in the caller's ear; ``scripted_ms`` of it the providers'."""

    ms: int
    scripted_ms: int

    @property
    def ours_ms(self) -> int:
        """The rest: ours, the sockets', and up to two frames of the telephone's own clock."""
        return self.ms - self.scripted_ms


class CallSeen(msgspec.Struct):
    """One call, from the carrier's side and from the server's."""

    done: SimCallDone
    lines: list[dict[str, Any]]  # what the server told of it
    silences: list[Silence]
    stopped_ms: int  # from the interrupting voice to the agent's silence; -1: it never fell silent

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The server's lines of that kind."""
        return [line for line in self.lines if line.get("at") == kind]

    @property
    def metrics(self) -> dict[str, Any]:
        """``CallMetrics``, from ``on_call_end``; empty when there was none."""
        ends = self.told("on_call_end")
        return dict(ends[-1]["metrics"]) if ends else {}


class Run(msgspec.Struct):
    """All calls of one engine on one loop. ``problems`` is empty when everything was as it should be."""

    engine: str
    loop: str
    carrier: str
    turns: int
    calls: list[CallSeen]
    providers: dict[str, Any]
    problems: list[str]
    codes: dict[str, int]


class _Process:
    """A process of ours that prints JSON lines."""

    def __init__(self, module: str, **options: object) -> None:
        command = [sys.executable, "-m", f"conformance.live.{module}"]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.lines: list[dict[str, Any]] = []
        self._came = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._came:
                self.lines.append(json.loads(line))
                self._came.notify_all()
        with self._came:
            self._over = True
            self._came.notify_all()

    def until(self, met: Callable[[], object]) -> bool:
        """Wait for lines until ``met()``; False when it never came to that."""
        with self._came:
            self._came.wait_for(lambda: met() or self._over, PATIENCE_S)
            return bool(met())

    def has(self, count: int, *kinds: str) -> bool:
        """Wait for so many lines of each of these kinds."""
        return self.until(lambda: all(sum(line.get("at") == kind for line in self.lines) >= count for kind in kinds))

    @property
    def port(self) -> int:
        """What its first line says."""
        if not self.until(lambda: self.lines):
            raise RuntimeError("a process of the run did not start")
        return int(self.lines[0]["port"])

    def stop(self) -> int:
        """SIGTERM, and its exit code; -1 when it would not leave."""
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return -1
        self.until(lambda: self._over)
        return code

    def kill(self) -> None:
        """Whatever state it is in."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


def run(engine: str, loop: str, *, carrier: str = "twilio", calls: int = 1, turns: int = 2) -> Run:
    """``calls`` calls, one after the other."""
    rest = listen("127.0.0.1", 0)
    with contextlib.ExitStack() as stack:
        stack.callback(rest.close)
        providers = stack.enter_context(_running("engine_providers", engine=engine, turns=turns, calls=calls))
        server = stack.enter_context(
            _running(
                "engine_server",
                engine=engine,
                loop=loop,
                carrier=carrier,
                rest=f"http://127.0.0.1:{rest.getsockname()[1]}",
                providers=providers.port,
            )
        )
        found = Run(engine, loop, carrier, turns, [], {}, [], {})
        for number in range(calls):
            before = len(server.lines)
            done = _one_call(carrier, server.port, rest.dup(), turns, found.problems)
            if done is None:
                found.problems.append(f"call {number}: the carrier never finished it")
                break
            if not server.has(number + 1, "on_call_end", "CallEnded"):
                found.problems.append(f"call {number}: the server did not say that it was over")
            silences, stopped = _heard(engine, done, turns)
            found.calls.append(CallSeen(done, server.lines[before:], silences, stopped))
        found.codes["server"] = server.stop()
        found.codes["providers"] = providers.stop()
        found.providers = providers.lines[-1] if len(providers.lines) > 1 else {}
    for number, call in enumerate(found.calls):
        found.problems += [f"call {number}: {problem}" for problem in _judge(call, turns)]
    found.problems += _judge_providers(found)
    found.problems += [f"the {who} ended with {code}" for who, code in found.codes.items() if code]
    return found


@contextlib.contextmanager
def _running(module: str, **options: object) -> Iterator[_Process]:
    process = _Process(module, **options)
    try:
        yield process
    finally:
        process.kill()


def _one_call(carrier: str, port: int, rest: Any, turns: int, problems: list[str]) -> SimCallDone | None:
    config = SimulatorConfig(
        webhook_url=f"https://{PUBLIC_HOST}/webhooks/{carrier}/voice",
        connect_to=("127.0.0.1", port),
        carrier=carrier,
        account_sid=ACCOUNT,
        auth_token=TOKEN,
        connection_id=CONNECTION,
        signing_seed=SEED,
        epoch=int(time.time() * 1e6),
    )
    board = SimulatedCarrier(config, [CallPlan(acts=acts(turns), at_ms=1)], seed=os.urandom(16))
    done: list[SimCallDone] = []

    def hear(event: Any) -> None:
        if isinstance(event, SimCallDone):
            done.append(event)
        elif isinstance(event, SimProblem):
            problems.append(f"the carrier objects: {event.detail}")

    client = importlib.import_module("patter_asyncio")
    client.run(lambda: client.carry(board, listener=rest, on_event=hear))
    return done[0] if done else None


# --- what the caller's ear got ---------------------------------------------------------------------------------------


def _spoken(audio: bytes) -> list[tuple[int, int]]:
    """Where the caller speaks: from and to, in milliseconds."""
    found: list[tuple[int, int]] = []
    start = 0
    for event in EnergyVad(format=PCMU_8K, stop_ms=_GAP_MS).process(audio):
        if isinstance(event, SpeechStarted):
            start = event.at_ms
        else:
            found.append((start, event.at_ms))
    return found


def _audible(audio: bytes) -> list[bool]:
    """By frame: did the ear get anything?"""
    quiet = bytes(_QUIET)
    return [bool(audio[at : at + _FRAME_BYTES].translate(None, quiet)) for at in range(0, len(audio), _FRAME_BYTES)]


def _heard(engine: str, done: SimCallDone, turns: int) -> tuple[list[Silence], int]:
    """The silence before each answer, and how long the interrupted one was heard on."""
    ear = _audible(done.heard)
    spoken = _spoken(done.caller)
    answers = replies(turns)
    silences: list[Silence] = []
    stopped = -1
    for number, ((began, ended), reply) in enumerate(zip(spoken, answers, strict=False)):
        at = ended // _FRAME_MS
        if number == len(answers) - 1:
            at = began // _FRAME_MS
            while at < len(ear) and any(ear[at : at + 5]):  # five frames of silence: a late frame is no end
                at += 1
            stopped = at * _FRAME_MS - began if at < len(ear) else -1
            at = max(at, ended // _FRAME_MS)
        while at < len(ear) and not ear[at]:
            at += 1
        if at < len(ear):
            silences.append(Silence(at * _FRAME_MS - ended, scripted_ms(engine, reply)))
    return silences, stopped


# --- whether it was right --------------------------------------------------------------------------------------------


def _judge(call: CallSeen, turns: int) -> Iterator[str]:
    done, metrics = call.done, call.metrics
    if done.outcome != "completed":
        yield f"the carrier says {done.outcome}: {done.detail}"
        return
    for kind in _TROUBLE:
        for line in call.told(kind):
            yield f"{kind}: {line}"
    yield from _judge_words(call, turns)
    if len(call.silences) != turns + 2:
        yield f"{turns + 2} answers were expected after the caller's words, {len(call.silences)} were heard"
    barged = call.told("BargedIn")
    if len(barged) != 1:
        yield f"one interruption was expected, there were {len(barged)}"
    if done.cleared_bytes == 0:
        yield "the interruption did not clear what the carrier had buffered"
    if call.stopped_ms < 0:
        yield "the interrupted answer was heard to the end of the call"
    (ended,) = call.told("CallEnded") or ({},)
    if ended.get("reason") != "caller_hung_up":
        yield f"the call ended because of {ended.get('reason')}"
    if ended.get("frames_in") != done.frames_sent:
        yield f"the carrier sent {done.frames_sent} frames, the server took in {ended.get('frames_in')}"
    if metrics.get("frames_dropped") or metrics.get("malformed_messages"):
        yield f"dropped {metrics['frames_dropped']} frames, found {metrics['malformed_messages']} malformed messages"
    if metrics.get("error_code"):
        yield f"error_code is {metrics['error_code']}"
    if len(call.told("on_metrics")) != len(metrics.get("turns", ())):
        yield f"on_metrics came {len(call.told('on_metrics'))} times for {len(metrics.get('turns', ()))} turns"
    if done.hung_up_by_rest:
        yield "the server hung up by REST a call that the caller had ended"


def _judge_words(call: CallSeen, turns: int) -> Iterator[str]:
    lines = call.told("TranscriptLine")
    user = [line["text"] for line in lines if line["role"] == "user"]
    agent = [line for line in lines if line["role"] == "assistant"]
    if user != words(turns):
        yield f"the caller said {words(turns)}, the transcript says {user}"
    expected = [FIRST, *replies(turns)]
    if len(agent) != len(expected):
        yield f"the agent said {expected}, the transcript says {[line['text'] for line in agent]}"
        return
    for number, (line, text) in enumerate(zip(agent, expected, strict=True)):
        cut = number == len(expected) - 2
        if line["interrupted"] is not cut:
            yield f"{line['text']!r} is {'not ' if cut else ''}marked as interrupted"
        if not cut and line["text"] != text:
            yield f"the agent said {text!r}, the transcript says {line['text']!r}"
        if cut and not (text.startswith(line["text"].rstrip()) and 0 < len(line["text"]) < len(text)):
            yield f"the agent was interrupted in {text!r}, the transcript says {line['text']!r}"


def _judge_providers(found: Run) -> Iterator[str]:
    told = found.providers
    if not told:
        yield "the providers said nothing at the end"
        return
    for detail in told["odd"]:
        yield f"the providers found odd: {detail}"
    for route, number, how, code in told["over"]:
        good = (
            (how, code) in (("closed", 1000), ("answered", 200))
            or (how == "left" and route not in links_of(found.engine))  # a request that was given up
        )
        if not good:
            yield f"the exchange {number} with {route} was {how} ({code})"
    for link in told["links"]:
        if refused := [code for code in link["refused"] if code not in _BENIGN]:
            yield f"{link['route']} refused {refused}"
    opened = Counter(link["route"] for link in told["links"])
    for route in links_of(found.engine):
        if opened[route] != len(found.calls):
            yield f"{opened[route]} connections to {route} for {len(found.calls)} calls"
    for link, call in zip([one for one in told["links"] if one["heard_bytes"]], found.calls, strict=False):
        missing = call.done.frames_sent * _FRAME_MS - link["heard_bytes"] // 8
        if missing > _UNDER_WAY_MS:
            yield f"{link['route']} heard {missing} ms less of the caller than they spoke"
