"""Whole calls with every engine on every loop, over loopback: prints where the silence goes, and what was wrong.

    python -m conformance.live.engines [--engine openai|convai|pipeline|pipeline-openai|on-message-url|all]
                                       [--loop asyncio|trio|both] [--carrier twilio|telnyx] [--calls N] [--turns N]

The server, the simulated providers and the simulated carrier are three processes. The caller is recorded speech; the
providers think for as long as ``engine_story.THINKING`` says, which is printed with the table: the rest is ours.
Exits 1 when a transcript is not what was said, an interruption did not interrupt, a frame was lost, or somebody did
not leave in peace.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from patter_core.call.metrics import PARTS, percentile

from .carriers import CARRIERS
from .engine_run import Run, run
from .engine_story import ENGINES, THINKING, speech_missing

__all__ = ["main", "table"]

_LEVELS = (0.5, 0.9, 0.95, 0.99)


def main(argv: list[str] | None = None) -> int:
    """Run them; 1 when anything was wrong, 2 when there is nobody to speak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=[*ENGINES, "all"], default="all")
    parser.add_argument("--loop", choices=["asyncio", "trio", "both"], default="both")
    parser.add_argument("--carrier", choices=CARRIERS, default="twilio")
    parser.add_argument("--calls", type=int, default=1, help="one after the other")
    parser.add_argument("--turns", type=int, default=2, help="questions before the one whose answer is interrupted")
    options = parser.parse_args(argv)
    if options.calls < 1 or options.turns < 1:
        parser.error("--calls and --turns are at least 1")
    if missing := speech_missing():
        print(f"SKIPPED: {missing}", file=sys.stderr)
        return 2
    loops = ["asyncio", "trio"] if options.loop == "both" else [options.loop]
    engines = ENGINES if options.engine == "all" else (options.engine,)
    wrong = 0
    for engine in engines:
        for loop in loops:
            found = run(engine, loop, carrier=options.carrier, calls=options.calls, turns=options.turns)
            print(table(found), flush=True)
            wrong += bool(found.problems)
    return 1 if wrong else 0


def table(found: Run) -> str:
    """What there is to say about a run."""
    turns = [turn["latency"] for call in found.calls for turn in call.metrics.get("turns", ())]
    turns = [latency for latency in turns if latency["agent_response_ms"] > 0]
    thinking = ", ".join(f"{what} {ms}" for what, ms in THINKING[found.engine].items())
    lines = [
        f"{found.engine} on {found.loop}, {found.carrier}: {len(found.calls)} calls, {len(turns)} answers measured",
        f"  scripted, ms: {thinking}",
        f"  {'ms':<24}" + "".join(f"{f'p{level * 100:g}':>8}" for level in _LEVELS),
    ]
    for field in (*PARTS, "agent_response_ms"):
        name = "total" if field == "agent_response_ms" else field.removesuffix("_ms")
        lines.append(_row(name, [latency[field] for latency in turns]))
    lines.append(_row("interrupted to silent", [call.stopped_ms for call in found.calls if call.stopped_ms >= 0]))
    silences = [silence for call in found.calls for silence in call.silences]
    lines.append(_row("silence in the ear", [silence.ms for silence in silences]))
    lines.append(_row("  of it not scripted", [silence.ours_ms for silence in silences]))
    underruns = sum(call.done.underruns for call in found.calls)
    lines.append(f"  underruns {underruns}; exit codes {found.codes}")
    lines += [f"  WRONG: {problem}" for problem in found.problems]
    return "\n".join(lines)


def _row(name: str, values: Sequence[float]) -> str:
    if not values:
        return f"  {name:<24}" + f"{'-':>8}" * len(_LEVELS)
    return f"  {name:<24}" + "".join(f"{percentile(values, level):>8.0f}" for level in _LEVELS)


if __name__ == "__main__":
    sys.exit(main())
