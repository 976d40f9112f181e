"""Measure the sample-rate conversion: delay, ripple, images, aliases, and what a frame costs.

    python conformance/audio_quality.py [--quick] [--plot out.png]

Tones go in as 16-bit samples in 20 ms frames and what comes out is measured, so rounding and framing are part of it.
Limits are those of vectors/codec/resample.json; the exit status is 1 when one is broken. Times are printed, not judged:
medians of interleaved rounds, comparable inside one table only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from patter_core.audio import L16_8K, L16_16K, L16_24K, PCMA_8K, PCMU_8K, AudioFormat, EnergyVad, Resampler, Transcoder
from patter_core.audio.resample import filter_design

MASKS = Path(__file__).with_name("vectors") / "codec" / "resample.json"
AMPLITUDE = 29000.0
SECONDS = 0.4
SETTLE = 0.02  # left out at the start: the filter fills


class Tone(NamedTuple):
    """One sine wave through a conversion; levels in dB relative to the input."""

    hz: float
    gain_db: float
    phase: float
    spur_db: float


class Quality(NamedTuple):
    """A pair of rates, measured: rejections are positive dB, None where there is nothing to reject."""

    delay_us: float
    ripple_db: float
    image_db: float
    alias_db: float | None
    tones: list[Tone]


def masks() -> list[dict[str, Any]]:
    """The limits, one for each pair."""
    return list(json.loads(MASKS.read_text(encoding="utf-8"))["cases"])


def _window(n: int) -> np.ndarray:
    """Blackman-Harris, 92 dB side lobes at once and falling: a spur must not hide beside its neighbour."""
    at = 2 * np.pi * np.arange(n) / n
    return 0.35875 - 0.48829 * np.cos(at) + 0.14128 * np.cos(2 * at) - 0.01168 * np.cos(3 * at)


def measure_tone(convert: Callable[[bytes], bytes], from_hz: int, to_hz: int, hz: float) -> Tone:
    """Send one tone through ``convert`` in 20 ms frames; fit it in the output, find the loudest other thing."""
    count = int(SECONDS * from_hz)
    wave = np.rint(AMPLITUDE * np.sin(2 * np.pi * hz / from_hz * np.arange(count))).astype("<i2").tobytes()
    step = 2 * (from_hz // 50)
    out = np.frombuffer(b"".join(convert(wave[at : at + step]) for at in range(0, len(wave), step)), "<i2")
    when = np.arange(len(out)) / to_hz
    keep = when >= SETTLE
    when, level = when[keep], out[keep] / AMPLITUDE
    gain, phase, rest = 0.0, 0.0, level
    if hz < to_hz / 2:
        basis = np.stack([np.sin(2 * np.pi * hz * when), np.cos(2 * np.pi * hz * when)], axis=1)
        (sine, cosine), *_ = np.linalg.lstsq(basis, level, rcond=None)
        gain, phase, rest = (
            float(np.hypot(sine, cosine)),
            float(np.arctan2(cosine, sine)),
            level - basis @ [sine, cosine],
        )
    window = _window(len(rest))
    spur = float(np.abs(np.fft.rfft(rest * window)).max()) * 2 / float(window.sum())
    return Tone(hz, 20 * np.log10(gain + 1e-12), phase, 20 * np.log10(spur + 1e-12))


def measure_pair(mask: dict[str, Any], tones: int) -> Quality:
    """Measure one pair of rates with ``tones`` tones in the pass band and as many above the stop edge."""
    from_hz, to_hz, stop_hz = mask["from_hz"], mask["to_hz"], mask["stop_hz"]
    low, high = mask["pass_hz"]

    def run(hz: float) -> Tone:
        return measure_tone(Resampler(from_hz, to_hz).process, from_hz, to_hz, hz)

    # The odd fractions keep tones off the rates' common divisors, where spurs and tone would coincide.
    inside = [run(float(hz)) for hz in np.linspace(low + 0.37, high - 0.41, tones)]
    spurs = [tone.spur_db - tone.gain_db for tone in inside]
    alias = None
    outside: list[Tone] = []
    if stop_hz + 100 < from_hz / 2:
        outside = [run(float(hz)) for hz in np.linspace(stop_hz + 0.53, from_hz / 2 - 23.3, tones)]
        alias = -max(tone.spur_db for tone in outside)
    apart = 20.0
    first, second = run(1000.3), run(1000.3 + apart)
    turn = (first.phase - second.phase) % (2 * np.pi)
    return Quality(
        delay_us=turn / (2 * np.pi * apart) * 1e6,
        ripple_db=max(abs(tone.gain_db) for tone in inside),
        image_db=-max(spurs),
        alias_db=alias,
        tones=inside + outside,
    )


def broken(mask: dict[str, Any], got: Quality) -> list[str]:
    """Which limits of ``mask`` a measurement breaks."""
    faults = []
    if got.delay_us > mask["delay_us"]:
        faults.append(f"delay {got.delay_us:.0f} us > {mask['delay_us']}")
    if got.ripple_db > mask["ripple_db"]:
        faults.append(f"ripple {got.ripple_db:.3f} dB > {mask['ripple_db']}")
    for name, value in (("image", got.image_db), ("alias", got.alias_db)):
        if value is not None and value < mask["reject_db"]:
            faults.append(f"{name} {value:.1f} dB < {mask['reject_db']}")
    return faults


def interleaved(jobs: dict[str, Callable[[], object]], rounds: int, loops: int) -> dict[str, float]:
    """Microseconds per call of each job: the median of rounds that take turns, so that a slow moment hits all."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.perf_counter_ns()
            for _ in range(loops):
                job()
            taken[name].append((time.perf_counter_ns() - start) / loops / 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


def _noise(fmt: AudioFormat) -> bytes:
    """20 ms of noise at a speaking level."""
    samples = (np.random.default_rng(1).normal(0, 3000, fmt.rate // 50)).astype("<i2").tobytes()
    return Transcoder(AudioFormat(L16_8K.encoding, fmt.rate), fmt).process(samples)


def _name(fmt: AudioFormat) -> str:
    return f"{fmt.encoding.value} {fmt.rate / 1000:g}k"


CHAINS = [
    (PCMU_8K, PCMU_8K),
    (PCMU_8K, PCMA_8K),
    (PCMU_8K, L16_8K),
    (L16_8K, PCMU_8K),
    (PCMU_8K, L16_16K),
    (PCMU_8K, L16_24K),
    (L16_16K, PCMU_8K),
    (L16_24K, PCMU_8K),
    (PCMA_8K, L16_24K),
    (L16_24K, PCMA_8K),
    (L16_24K, L16_16K),
    (L16_16K, L16_24K),
]


def _peers() -> dict[tuple[AudioFormat, AudioFormat], Callable[[bytes], bytes]]:
    """The same chains with audioop, where this Python still has it: quick, and without an anti-alias filter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import audioop
        except ImportError:
            return {}

    def chain(src: AudioFormat, dst: AudioFormat) -> Callable[[bytes], bytes]:
        state: Any = None

        def run(data: bytes) -> bytes:
            nonlocal state
            if src == PCMU_8K:
                data = audioop.ulaw2lin(data, 2)
            if src.rate != dst.rate:
                data, state = audioop.ratecv(data, 2, 1, src.rate, dst.rate, state)
            return audioop.lin2ulaw(data, 2) if dst == PCMU_8K else data

        return run

    wanted = [pair for pair in CHAINS if PCMA_8K not in pair and pair[0] != pair[1]]
    return {(src, dst): chain(src, dst) for src, dst in wanted}


def print_quality(tones: int, rounds: int, loops: int) -> tuple[int, dict[str, Quality]]:
    """The table of pairs; returns how many break their mask, and the measurements."""
    cases = masks()
    jobs: dict[str, Callable[[], object]] = {}
    for mask in cases:
        stream, frame = Resampler(mask["from_hz"], mask["to_hz"]), _noise(AudioFormat(L16_8K.encoding, mask["from_hz"]))
        jobs[mask["id"]] = lambda stream=stream, frame=frame: stream.process(frame)  # type: ignore[misc]
    cost = interleaved(jobs, rounds, loops)
    print(f"{'pair, Hz':>15} {'delay us':>9} {'ripple dB':>10} {'image dB':>9} {'alias dB':>9} {'us/20 ms':>9}")
    bad = 0
    found = {}
    for mask in cases:
        got = found[mask["id"]] = measure_pair(mask, tones)
        faults = broken(mask, got)
        bad += bool(faults)
        alias = "-" if got.alias_db is None else f"{got.alias_db:.1f}"
        print(
            f"{mask['from_hz']:>6} -> {mask['to_hz']:>5} {got.delay_us:>9.0f} {got.ripple_db:>10.3f}"
            f" {got.image_db:>9.1f} {alias:>9} {cost[mask['id']]:>9.1f}  {'; '.join(faults)}"
        )
    return bad, found


def print_chains(rounds: int, loops: int) -> None:
    """The table of whole chains with companding, beside audioop's."""
    peers = _peers()
    jobs: dict[str, Callable[[], object]] = {}
    for src, dst in CHAINS:
        frame, name = _noise(src), f"{_name(src):>9} -> {_name(dst):<9}"
        stream = Transcoder(src, dst)
        jobs[name] = lambda stream=stream, frame=frame: stream.process(frame)  # type: ignore[misc]
        if (src, dst) in peers:
            jobs[name + "*"] = lambda peer=peers[src, dst], frame=frame: peer(frame)  # type: ignore[misc]
    for fmt in (PCMU_8K, L16_8K, L16_16K):
        vad, frame = EnergyVad(format=fmt), _noise(fmt)
        jobs[f"{_name(fmt):>9} -> energy VAD"] = lambda vad=vad, frame=frame: vad.process(frame)  # type: ignore[misc]
    cost = interleaved(jobs, rounds, loops)
    print(f"\n{'chain, 20 ms frames':>23} {'us':>7} {'audioop us':>11} {'ratio':>6}")
    for name, us in cost.items():
        if name.endswith("*"):
            continue
        peer = cost.get(name + "*")
        beside = "" if peer is None else f"{peer:>11.2f} {us / peer:>6.1f}"
        print(f"{name:>23} {us:>7.2f} {beside}")


def plot(path: str, found: dict[str, Quality]) -> bool:
    """Draw the filters and the measured spurs; False when matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        print("\n--plot needs matplotlib: python -m pip install matplotlib", file=sys.stderr)
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(11, 10), layout="constrained")
    cases = [mask for mask in masks() if "streaming" in mask["flags"]]
    colours = pyplot.get_cmap("tab20")
    for at, mask in enumerate(cases):
        design = filter_design(mask["from_hz"], mask["to_hz"])
        rate = mask["from_hz"] * design.up
        response = np.abs(np.fft.rfft(design.taps / design.up, 1 << 15))
        label = f"{mask['from_hz'] // 1000} -> {mask['to_hz'] // 1000} kHz"
        above.plot(
            np.fft.rfftfreq(1 << 15, 1 / rate) / 1000,
            20 * np.log10(response + 1e-9),
            lw=0.8,
            color=colours(at),
            label=label,
        )
        got = found[mask["id"]]
        below.plot(
            [tone.hz / 1000 for tone in got.tones],
            [tone.spur_db if tone.hz >= mask["stop_hz"] else tone.spur_db - tone.gain_db for tone in got.tones],
            ".-",
            lw=0.5,
            color=colours(at),
            label=label,
        )
    above.set(xlim=(0, 24), ylim=(-130, 5), xlabel="kHz", ylabel="dB", title="Filters, from their taps")
    below.set(
        ylim=(-130, -80), xlabel="input tone, kHz", ylabel="dB", title="Loudest image or alias, measured at 16 bits"
    )
    for axes in (above, below):
        axes.axhline(-95, color="red", lw=1, ls="--")
        axes.grid(alpha=0.3)
        axes.legend(ncol=3, fontsize=8)
    figure.savefig(path, dpi=110)
    print(f"\nplot: {path}")
    return True


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure sample-rate conversion: quality and cost.")
    parser.add_argument("--quick", action="store_true", help="fewer tones and rounds")
    parser.add_argument("--plot", metavar="PNG", help="draw filters and spurs (needs matplotlib)")
    options = parser.parse_args(argv)
    tones, rounds, loops = (5, 9, 50) if options.quick else (33, 31, 200)
    bad, found = print_quality(tones, rounds, loops)
    print_chains(rounds, loops)
    drawn = plot(options.plot, found) if options.plot else True
    if bad:
        print(f"\n{bad} pairs break their mask", file=sys.stderr)
    return 1 if bad or not drawn else 0


if __name__ == "__main__":
    sys.exit(main())
