"""espeak-ng inside this process, through ctypes.

The library is licensed under the GPL, version 3. Nothing of it is part of this project or linked with it: it comes in
the package ``espeakng-loader``, which the optional extra ``demo`` installs, and is loaded at run time on first use.
Who distributes a program together with it has the GPL to keep; who does not want that leaves the extra out.

The library keeps its state in globals (one voice, one callback, one text at a time): so there is one of it, and a lock.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import threading
from typing import Any

from patter_core.errors import ConfigError

__all__ = ["Espeak", "shared_espeak"]

# From espeak-ng's public header speak_lib.h.
_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_UTF8 = 1
_BY_CHARACTER = 1
_RATE = 1
_OK = 0

_BUFFER_MS = 100
"""How much speech comes with one callback."""

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The library, initialised. ``rate`` is that of everything it says, in Hz.

    ImportError when the package is missing, OSError when its library cannot be used here.
    """

    def __init__(self) -> None:
        loader: Any = importlib.import_module("espeakng_loader")
        self._lib = ctypes.CDLL(loader.get_library_path())
        self._lib.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        # Left to itself the library ends the process when its data is missing.
        rate = self._lib.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, loader.get_data_path().encode(), _DONT_EXIT)
        if rate <= 0:
            raise OSError(f"espeak-ng could not be initialised (code {rate})")
        self.rate = int(rate)
        self._lock = threading.Lock()
        self._pieces: list[bytes] = []
        # Kept as a member: the library calls it for as long as the process lives.
        self._callback = _Callback(self._take)
        self._lib.espeak_SetSynthCallback(self._callback)

    def has(self, voice: str) -> bool:
        """Whether a voice of that name (as "en-us", "de") exists."""
        with self._lock:
            return bool(self._lib.espeak_SetVoiceByName(voice.encode()) == _OK)

    def synthesise(self, text: str, voice: str, words_per_minute: int) -> bytes:
        """The whole text as PCM16 mono at ``rate``. ConfigError for an unknown voice, OSError when it fails."""
        data = text.encode()
        with self._lock:
            if self._lib.espeak_SetVoiceByName(voice.encode()) != _OK:
                raise ConfigError(f"espeak-ng has no voice {voice!r}")
            self._lib.espeak_SetParameter(_RATE, words_per_minute, 0)
            self._pieces.clear()
            # In synchronous mode this returns when the callback has had everything; ctypes lets other threads run.
            status = self._lib.espeak_Synth(data, len(data) + 1, 0, _BY_CHARACTER, 0, _UTF8, None, None)
            sound = b"".join(self._pieces)
            self._pieces.clear()
        if status != _OK:
            raise OSError(f"espeak-ng could not speak (code {status})")
        return sound

    def _take(self, samples: int | None, count: int, events: int | None) -> int:
        if samples and count > 0:
            self._pieces.append(ctypes.string_at(samples, 2 * count))
        return 0


_STARTING = threading.Lock()


def shared_espeak() -> Espeak:
    """The one of this process; initialised by the first call (a few milliseconds)."""
    with _STARTING:
        return _initialised()


@functools.cache
def _initialised() -> Espeak:
    return Espeak()
