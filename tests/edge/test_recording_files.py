"""Recordings on disk: written piece by piece, patched at the end, repaired after a crash."""

from __future__ import annotations

import os
import stat
import wave
from pathlib import Path

import numpy as np
import pytest

from patter_core.audio.formats import PCMU_8K
from patter_core.audio.g711 import ulaw_encode
from patter_core.audio.wav import MAX_DATA_BYTES, read_wav, repaired_header, wav_header, write_wav
from patter_core.call.recorder import Recorder
from patter_core.edge import files

MS, S = 1_000, 1_000_000
PCM = np.arange(-4000, 4000).astype("<i2").tobytes()
GROWING = wav_header(8000, 2, None) + PCM


def record(path: str, crash: bool) -> int:
    """A call of eleven seconds; the bytes of sound that were handed to the disk."""
    recorder = Recorder(8000)
    recorder.attach(0, PCMU_8K)
    handler = files.create
    for k in range(550):
        now = 20 * k * MS
        recorder.caller(now, 102 + 20 * k, ulaw_encode(PCM[2 * k : 2 * k + 320]))
        if piece := recorder.take(now):
            handler(path, piece)
            handler = files.append
    if not crash:
        recorder.finish(11 * S)
        while piece := recorder.take(11 * S):
            files.append(path, piece)
        files.patch(path, *recorder.patch())
    return recorder.data_bytes


def frames(path: Path) -> int:
    with wave.open(str(path)) as reader:
        assert (reader.getnchannels(), reader.getsampwidth(), reader.getframerate()) == (2, 2, 8000)
        count = reader.getnframes()
        assert len(reader.readframes(count + 1)) == 4 * count
        return count


def test_a_call_that_ends_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "calls" / "a.wav"
    size = record(str(path), crash=False)
    assert path.stat().st_size == 44 + size == 44 + 11 * 8000 * 4
    assert frames(path) == 11 * 8000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert files.repair_wav(str(path)) is False


@pytest.mark.parametrize("lost", [0, 1, 2, 3, 4, 30_001])
def test_a_call_that_crashed_is_repaired(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "a.wav"
    size = record(str(path), crash=True) - lost
    os.truncate(path, 44 + size)
    before = path.read_bytes()
    assert files.repair_wavs(str(tmp_path)) == [str(path)]
    assert frames(path) == size // 4 > 6 * 8000
    assert path.read_bytes()[44:] == before[44:]
    assert files.repair_wavs(str(tmp_path)) == []


def test_repair_leaves_alone_what_is_none_of_its_business(tmp_path: Path) -> None:
    outside = tmp_path / "outside.wav"
    outside.write_bytes(GROWING)
    folder = tmp_path / "calls"
    (folder / "within.wav").mkdir(parents=True)
    (folder / "within.wav" / "deep.wav").write_bytes(GROWING)
    (folder / "link.wav").symlink_to(outside)
    (folder / "gone.wav").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.wav")
    others = {
        "whole.wav": write_wav(8000, 2, PCM),
        "trace.jsonl": GROWING,
        "text.wav": b"RIFF? No.",
        "empty.wav": b"",
        "head.wav": GROWING[:30],
        "empty-but-whole.wav": write_wav(8000, 2, b""),
    }
    for name, data in others.items():
        (folder / name).write_bytes(data)
    (folder / "broken.wav").write_bytes(GROWING)
    assert files.repair_wavs(str(folder)) == [str(folder / "broken.wav")]
    assert {name: (folder / name).read_bytes() for name in others} == others
    assert outside.read_bytes() == (folder / "within.wav" / "deep.wav").read_bytes() == GROWING
    assert (folder / "broken.wav").read_bytes() == write_wav(8000, 2, PCM)


def test_one_that_cannot_be_repaired_does_not_keep_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(GROWING)
    patch = files.patch

    def refuse(path: str, offset: int, data: bytes) -> None:
        if path.endswith("a.wav"):
            raise PermissionError(path)
        patch(path, offset, data)

    monkeypatch.setattr(files, "patch", refuse)
    assert files.repair_wavs(str(tmp_path)) == [str(tmp_path / "b.wav")]


def test_no_directory_nothing_to_repair(tmp_path: Path) -> None:
    assert files.repair_wavs(str(tmp_path / "none")) == []


# --- file.patch ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 3, 6])
def test_a_patch_writes_over_what_is_there(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    files.patch(str(path), offset, b"abcd")
    assert path.read_bytes() == b"0123456789"[:offset] + b"abcd" + b"0123456789"[offset + 4 :]


@pytest.mark.parametrize("offset", [-1, 7, 10, 1 << 40])
def test_a_patch_makes_no_file_longer(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    with pytest.raises(ValueError, match="over a file of 10"):
        files.patch(str(path), offset, b"abcd")
    assert path.read_bytes() == b"0123456789"


def test_a_patch_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.patch(str(tmp_path / "f"), 0, b"x")
    assert list(tmp_path.iterdir()) == []


# --- the header, without a disk --------------------------------------------------------------------------------------


def repaired(data: bytes, head: int | None = None) -> bytes:
    new = repaired_header(data[:head], len(data))
    assert new is not None
    return new + data[len(new) :]


@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
@pytest.mark.parametrize("head", [44, 60, None])
def test_sizes_nobody_filled_in(riff: int, size: int, head: int | None) -> None:
    broken = GROWING[:4] + riff.to_bytes(4, "little") + GROWING[8:40] + size.to_bytes(4, "little") + PCM
    assert repaired(broken, head) == write_wav(8000, 2, PCM)


def test_a_size_that_promises_more_than_is_there() -> None:
    whole = write_wav(8000, 2, PCM)
    cut = whole[:-1001]
    with pytest.raises(ValueError):
        read_wav(cut)
    assert read_wav(repaired(cut)).pcm == PCM[:-1004]


def test_other_chunks_before_the_samples_stay() -> None:
    listed = b"RIFF\xff\xff\xff\xffWAVELIST\4\0\0\0INFO" + GROWING[12:]
    new = repaired(listed)
    assert new[12:24] == b"LIST\4\0\0\0INFO"
    assert int.from_bytes(new[4:8], "little") == len(new) - 8
    assert read_wav(new).pcm == PCM
    assert repaired_header(listed[:50], len(listed)) is None  # the samples are not in sight


def test_a_file_longer_than_a_wav_can_be() -> None:
    new = repaired_header(GROWING[:44], 5 << 30)
    assert new is not None
    assert int.from_bytes(new[40:44], "little") == MAX_DATA_BYTES - MAX_DATA_BYTES % 4
    assert new[:40] == wav_header(8000, 2, MAX_DATA_BYTES - MAX_DATA_BYTES % 4)[:40]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        GROWING[:20],
        GROWING[:36],
        b"RIFX" + GROWING[4:],
        GROWING[:20] + b"\x55\0" + GROWING[22:],  # a compression we do not read
        GROWING[:12] + GROWING[36:],  # no format
        write_wav(8000, 2, PCM),
        write_wav(8000, 2, b""),
        write_wav(8000, 2, PCM) + b"LIST\4\0\0\0INFO",
    ],
)
def test_nothing_to_repair(data: bytes) -> None:
    assert repaired_header(data, len(data)) is None
