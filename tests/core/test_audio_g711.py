"""G.711 against the ITU-T reference: every sample, every code, by hash."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from patter_core.audio import g711

ALL_SAMPLES = np.arange(-32768, 32768).astype("<i2").tobytes()
ALL_CODES = bytes(range(256))


@pytest.mark.parametrize(
    ("convert", "given", "sha256"),
    [
        (g711.ulaw_encode, ALL_SAMPLES, "90c29de505fb68e766118303bd552a16005dcf810873698bee1d8f3b247ce28c"),
        (g711.ulaw_decode, ALL_CODES, "3dab54339e520bb2c924826e3b72a917a2b612e9fd12fc867500f1d983a75827"),
        (g711.alaw_encode, ALL_SAMPLES, "38488f6fd710f4686360edc4d38639f96c491595ef93f8eb8d62d5e07ca6ce7b"),
        (g711.alaw_decode, ALL_CODES, "e04788d110e58ff8c70c93b8480190d973e3b67876b6119abbaec766cc75c174"),
    ],
    ids=["ulaw-encode", "ulaw-decode", "alaw-encode", "alaw-decode"],
)
def test_equals_the_itu_reference(convert, given, sha256):
    assert hashlib.sha256(convert(given)).hexdigest() == sha256


def test_tables_are_the_functions_and_cannot_be_changed():
    assert g711.ULAW_ENCODE.tobytes() == g711.ulaw_encode(ALL_SAMPLES)
    assert g711.ALAW_ENCODE.tobytes() == g711.alaw_encode(ALL_SAMPLES)
    for table, dtype, size in [
        (g711.ULAW_DECODE, np.int16, 256),
        (g711.ALAW_DECODE, np.int16, 256),
        (g711.ULAW_ENCODE, np.uint8, 65536),
        (g711.ALAW_ENCODE, np.uint8, 65536),
    ]:
        assert (table.dtype, table.shape) == (dtype, (size,))
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 0


def test_silence():
    assert g711.ulaw_encode(bytes(2)) == b"\xff"
    assert g711.alaw_encode(bytes(2)) == b"\xd5"
    assert g711.ulaw_decode(b"\xff\x7f") == bytes(4)
    assert np.frombuffer(g711.alaw_decode(b"\xd5\x55"), "<i2").tolist() == [8, -8]


def test_decode_then_encode_is_the_identity_but_for_negative_zero():
    again = g711.ulaw_encode(g711.ulaw_decode(ALL_CODES))
    assert [code for code in range(256) if again[code] != code] == [0x7F]
    assert again[0x7F] == 0xFF
    assert g711.alaw_encode(g711.alaw_decode(ALL_CODES)) == ALL_CODES


@pytest.mark.parametrize(
    ("encode", "decode", "top_step"),
    [(g711.ulaw_encode, g711.ulaw_decode, 1024), (g711.alaw_encode, g711.alaw_decode, 1024)],
    ids=["ulaw", "alaw"],
)
def test_a_louder_sample_never_comes_back_quieter(encode, decode, top_step):
    given = np.arange(-32768, 32768)
    back = np.frombuffer(decode(encode(ALL_SAMPLES)), "<i2").astype(int)
    assert (np.diff(back) >= 0).all()
    inside = abs(given) <= 32000  # above, mu-law clips
    assert abs(back - given)[inside].max() <= top_step // 2
    assert abs(back - given)[abs(given) < 32].max() <= 8


def test_nothing_gives_nothing():
    for convert in (g711.ulaw_encode, g711.ulaw_decode, g711.alaw_encode, g711.alaw_decode):
        assert convert(b"") == b""


def test_half_a_sample_is_refused():
    for encode in (g711.ulaw_encode, g711.alaw_encode):
        with pytest.raises(ValueError, match="multiple of element size"):
            encode(b"\0\0\0")
