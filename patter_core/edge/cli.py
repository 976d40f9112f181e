"""The command line: ``patter demo``, ``patter simulate``, ``patter replay``. Also ``python -m patter_asyncio`` and
``python -m patter_trio``, which choose the loop by their name."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from patter_core import __version__
from patter_core.audio.g711 import ulaw_encode
from patter_core.audio.resample import resample
from patter_core.audio.wav import read_wav, to_mono
from patter_core.config import PublicUrl
from patter_core.errors import ConfigError, PatterError
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier
from patter_core.simulator.script import Act, HangUp, ListenUntilQuiet, Speak
from patter_core.trace import TraceError, replay

from . import demo as demos
from .screen import Screen, table
from .silero import load_silero
from .sockets import listen

__all__ = ["main"]


def main(argv: Sequence[str] | None = None, loop_name: str = "") -> int:
    """Run one command; the exit code."""
    options = _parser(loop_name).parse_args(argv)
    # What goes wrong is on the screen already; the log is for those who ask for it.
    level = logging.DEBUG if options.verbose else logging.CRITICAL
    logging.basicConfig(level=level, format="%(levelname)s %(message)s")
    try:
        return int(options.run(options, loop_name))
    except (PatterError, OSError) as exc:
        print(f"patter: {exc}", file=sys.stderr)
        return 2


def _parser(loop_name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {loop_name}" if loop_name else "patter",
        description="The server that gives an AI agent a phone number.",
    )
    parser.add_argument("--version", action="version", version=f"patter {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="log every event")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo", parents=[common], help="answer a simulated call on this machine; needs no account"
    )
    demo.add_argument("--trio", action="store_true", help="run on trio instead of asyncio")
    demo.add_argument("--telnyx", action="store_true", help="over a simulated Telnyx line instead of Twilio's")
    demo.add_argument("--call", action="store_true", help="the server calls somebody, instead of being called")
    demo.add_argument("--serve", action="store_true", help="only serve; call it with `patter simulate`")
    demo.add_argument("--port", type=_port, default=8000, help="with --serve: the port (8000)")
    demo.add_argument("--out", default="demo-output", help="folder for the recording and the trace")
    demo.set_defaults(run=_demo)

    simulate = commands.add_parser("simulate", parents=[common], help="call a server as a carrier would")
    simulate.add_argument(
        "--url",
        required=True,
        help="its public URL, as signatures are made over it; with a path, that of the voice webhook",
    )
    simulate.add_argument("--carrier", choices=["twilio", "telnyx"], default="twilio")
    simulate.add_argument("--connect", metavar="HOST:PORT", help="where it really listens, without TLS")
    simulate.add_argument("--wav", action="append", default=[], help="what the caller says; may be repeated")
    simulate.add_argument("--demo-caller", action="store_true", help="say what the demo's caller says")
    simulate.add_argument(
        "--account-sid",
        default=os.environ.get("TWILIO_ACCOUNT_SID", demos.ACCOUNT),
        help="default: TWILIO_ACCOUNT_SID, else the demo's",
    )
    simulate.add_argument(
        "--auth-token",
        default=os.environ.get("TWILIO_AUTH_TOKEN", demos.TOKEN),
        help="what signs Twilio's webhooks; default: TWILIO_AUTH_TOKEN, else the demo's",
    )
    simulate.add_argument("--from", dest="caller", default="+15550100001")
    simulate.add_argument("--to", dest="callee", default=demos.NUMBER)
    simulate.add_argument("--calls", type=_count, default=1, help="how many at once")
    simulate.add_argument("--rate", type=_rate, default=1.0, help="times real time")
    simulate.add_argument("--rest-port", type=_port, default=0, help="where the carrier's REST API answers (0: any)")
    simulate.add_argument("--out", default="demo-output", help="folder for the recordings")
    simulate.add_argument("--trio", action="store_true", help="run on trio instead of asyncio")
    simulate.set_defaults(run=_simulate)

    again = commands.add_parser(
        "replay", parents=[common], help="run a call's trace again and show the first difference"
    )
    again.add_argument("file", type=Path)
    again.set_defaults(run=_replay)
    return parser


def _port(text: str) -> int:
    return _ranged(text, int, 0, 65535)


def _count(text: str) -> int:
    return _ranged(text, int, 1, 10_000)


def _rate(text: str) -> float:
    return _ranged(text, float, 0.01, 1000)


Number = TypeVar("Number", int, float)


def _ranged(text: str, kind: Callable[[str], Number], least: Number, most: Number) -> Number:
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not least <= number <= most:
        raise argparse.ArgumentTypeError(f"must be {least} to {most}, not {text!r}")
    return number


def _loop(options: argparse.Namespace, loop_name: str) -> ModuleType:
    name = loop_name or ("patter_trio" if options.trio else "patter_asyncio")
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise PatterError(f"{name} needs {exc.name}: pip install -e '.[trio]' in the checkout") from None


def _demo(options: argparse.Namespace, loop_name: str) -> int:
    loop = _loop(options, loop_name)
    carrier = "telnyx" if options.telnyx else "twilio"
    if options.serve:
        if options.call:
            raise PatterError("--serve waits to be called: it does not go with --call")
        return int(loop.run(lambda: demos.serve_demo(loop, port=options.port, carrier=carrier)))
    return int(loop.run(lambda: demos.demo(loop, folder=options.out, carrier=carrier, call=options.call)))


def _speech(path: str) -> bytes:
    """A WAV file as the caller's mu-law."""
    try:
        wav = read_wav(Path(path).read_bytes())
        pcm = to_mono(wav)
        return ulaw_encode(pcm if wav.rate == 8000 else resample(pcm, wav.rate, 8000))
    except ValueError as exc:
        raise PatterError(f"{path}: {exc}") from None


def _simulate(options: argparse.Namespace, loop_name: str) -> int:
    loop = _loop(options, loop_name)
    if options.demo_caller:
        acts = demos.demo_acts()
    elif options.wav:
        parts: list[Act] = [ListenUntilQuiet(700, 5000)]
        for path in options.wav:
            parts += [Speak(_speech(path)), ListenUntilQuiet()]
        acts = (*parts, HangUp())
    else:
        raise PatterError("nothing to say: give --wav FILE (mono or stereo WAV), or --demo-caller")
    telnyx = options.carrier == "telnyx"
    if telnyx and not options.rest_port:
        raise PatterError(
            "Telnyx is answered by REST: say with --rest-port PORT where the server finds the carrier's API "
            "(there, Telnyx(base_url='http://127.0.0.1:PORT'))"
        )
    public = PublicUrl.parse(options.url)
    url = public.origin if public.prefix else f"{public.origin}/webhooks/{options.carrier}/voice"
    place = None
    if options.connect:
        host, _, port = options.connect.rpartition(":")
        if not host or not port.isdigit():
            raise PatterError(f"--connect takes HOST:PORT, not {options.connect!r}")
        place = (host, int(port))
    config = demos.config(
        options.carrier,
        webhook_url=url,
        account_sid=options.account_sid,
        auth_token=options.auth_token,
        connect_to=place,
        rate=options.rate,
    )
    plan = CallPlan(acts=acts, caller=options.caller, callee=options.callee)
    board = SimulatedCarrier(config, [plan] * options.calls, seed=os.urandom(16))
    rest = listen("127.0.0.1", options.rest_port)
    screen = Screen()
    screen.line(f"calling {url}" + (f" at {options.connect}" if place else ""))
    screen.line(f"the carrier's REST API answers at http://127.0.0.1:{rest.getsockname()[1]}")
    if telnyx:
        screen.line(f"its webhooks are signed: the server's TELNYX_PUBLIC_KEY must be {config.public_key}")
    loop.run(lambda: loop.carry(board, listener=rest, on_event=screen.hear))
    rows = []
    for call in screen.done:
        saved = str(demos.save_call(call, Path(options.out))) if call.frames_sent else "-"
        length, heard = f"{call.duration_ms / 1000:.1f}", f"{call.bytes_received / 8000:.1f}"
        rows.append((call.call_id[:10], call.outcome, length, heard, saved))
    screen.line(table(("call", "outcome", "seconds", "speech heard (s)", "recording"), rows))
    for call in screen.done:
        if call.outcome != "completed":
            screen.line(f"{call.call_id[:10]}: {call.detail}")
            if "HTTP 403" in call.detail:
                key = "that public key" if telnyx else "--auth-token"
                screen.line(f"  is {key} the server's, and --url what it has as webhook_url?")
            elif telnyx and call.outcome == "unanswered":
                screen.line(f"  is http://127.0.0.1:{rest.getsockname()[1]} the server's Telnyx(base_url=...)?")
    return 0 if all(call.outcome == "completed" for call in screen.done) and not screen.problems else 1


def _replay(options: argparse.Namespace, loop_name: str) -> int:
    with contextlib.suppress(ConfigError):  # a trace that needs the weights says so itself
        load_silero()
    try:
        with options.file.open("rb") as lines:
            count, difference = replay(lines)
    except TraceError as exc:
        print(f"patter: {options.file}: {exc}", file=sys.stderr)
        return 2
    if difference is None:
        print(f"{count} steps replayed, every order the same")
        return 0
    print(f"{count} steps agree; line {difference.line}, at {difference.at / 1e6:.6f} s, does not:")
    print(f"  fact      {difference.fact[:400]}")
    for sign, orders in (("expected", difference.expected), ("got", difference.got)):
        for order in orders or ("nothing",):
            print(f"  {sign:<9} {order[:400]}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
