"""``DeepgramSTT(...)``: what an application writes to have Deepgram listen; ``DeepgramSpec`` is what becomes of it.

What the options mean and which values are taken: developers.deepgram.com/reference/speech-to-text/listen-streaming and
the pages on endpointing, utterance end and key terms below developers.deepgram.com/docs.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from ...errors import ConfigError
from ..keyed import Keyed
from ..keys import Resolving
from ..sendable import check_key

__all__ = ["DeepgramSTT", "DeepgramSpec"]

_KEYTERMS = 100
"""The service takes 500 tokens of key terms; a list longer than this is a mistake."""
_LONGEST = 128
"""Characters of a name, a label or a term."""

_SCHEMES = {"https": "wss", "http": "ws", "wss": "wss", "ws": "ws"}


class DeepgramSpec(msgspec.Struct, frozen=True, kw_only=True, tag="deepgram"):
    """How to listen, as data."""

    auth: str
    url: str = "wss://api.deepgram.com/v1/listen"
    model: str = "nova-3"
    language: str = ""  # '': the agent's
    endpointing_ms: int = 300  # 0: none, our own detector alone ends turns
    utterance_end_ms: int = 0  # 0: none
    interim_results: bool = True
    smart_format: bool = True
    punctuate: bool = True
    numerals: bool = False
    profanity_filter: bool = False
    filler_words: bool = False
    vad_events: bool = False
    keyterms: tuple[str, ...] = ()
    tag: str = ""
    mip_opt_out: bool = False
    patience_s: float = 1.0  # from Finalize to an answer made of what there is


class DeepgramSTT(Keyed, msgspec.Struct, frozen=True, kw_only=True):
    """Deepgram credentials and settings: the key from the argument, else DEEPGRAM_API_KEY.

    * ``endpointing_ms``: silence after which Deepgram itself ends a turn, which it may do before our own voice detector
      (``endpoint_s``) does. False: it never does.
    * ``utterance_end_ms``: a gap between words that ends a turn even where noise hides the silence; at least 1000.
    * ``keyterms``: names and jargon to expect (Nova-3 only).
    * ``language``: '' is the agent's; ``multi`` is any of those Nova-3 can switch between.
    * ``patience_s``: how long the last words of a turn may take once the caller is silent; then what is known counts.
    """

    model: str = "nova-3"
    language: str = ""
    endpointing_ms: int | bool | None = 300
    utterance_end_ms: int | None = None
    interim_results: bool = True
    smart_format: bool = True
    punctuate: bool = True
    numerals: bool = False
    profanity_filter: bool = False
    filler_words: bool = False
    vad_events: bool = False
    keyterms: tuple[str, ...] | list[str] = ()
    tag: str = ""
    mip_opt_out: bool = False
    patience_s: float = 1.0
    base_url: str = "wss://api.deepgram.com"

    def __repr__(self) -> str:
        return f"DeepgramSTT(model={self.model!r}, language={self.language!r})"

    def resolve(self, resolving: Resolving) -> DeepgramSpec:
        """Checked, with the key put away under a name."""
        model = _text("model", self.model)
        if not model:
            raise ConfigError('DeepgramSTT(model=...) must name a model, for example "nova-3"')
        if model.startswith("flux"):
            raise ConfigError(f'DeepgramSTT does not speak the protocol of {self.model!r}; use model="nova-3"')
        for name in ("interim_results", "smart_format", "punctuate", "numerals", "profanity_filter", "filler_words"):
            _flag(name, getattr(self, name))
        _flag("vad_events", self.vad_events)
        _flag("mip_opt_out", self.mip_opt_out)
        utterance_end = _milliseconds("utterance_end_ms", self.utterance_end_ms, 1000, 5000)
        if utterance_end and not self.interim_results:
            raise ConfigError("DeepgramSTT(utterance_end_ms=...) works on interim results: leave interim_results=True")
        key = check_key("DeepgramSTT", resolving.key(self.api_key, "DEEPGRAM_API_KEY"))
        return DeepgramSpec(
            auth=resolving.secret("deepgram", "Authorization", f"Token {key}") if key else "",
            url=_listen_url(self.base_url),
            model=model,
            language=_text("language", self.language),
            endpointing_ms=_milliseconds("endpointing_ms", self.endpointing_ms, 10, 5000),
            utterance_end_ms=utterance_end,
            interim_results=self.interim_results,
            smart_format=self.smart_format,
            punctuate=self.punctuate,
            numerals=self.numerals,
            profanity_filter=self.profanity_filter,
            filler_words=self.filler_words,
            vad_events=self.vad_events,
            keyterms=self._keyterms(),
            tag=_text("tag", self.tag),
            mip_opt_out=self.mip_opt_out,
            patience_s=_patience(self.patience_s),
        )

    def _keyterms(self) -> tuple[str, ...]:
        given: object = self.keyterms
        if not isinstance(given, tuple | list):  # a text is a sequence of texts, too, but not the one that was meant
            raise ConfigError(f'DeepgramSTT(keyterms=...) must be a list of texts, like ["Patter"], got {given!r}')
        terms = tuple(term for one in given if (term := _text("keyterms", one)))
        if len(terms) > _KEYTERMS:
            raise ConfigError(f"DeepgramSTT(keyterms=...) takes at most {_KEYTERMS} terms, got {len(terms)}")
        if terms and not self.model.startswith("nova-3"):
            raise ConfigError(f'DeepgramSTT(keyterms=...) needs model="nova-3"; {self.model!r} does not know them')
        return terms


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise ConfigError(f"DeepgramSTT({name}=...) must be text of at most {_LONGEST} characters, got {value!r:.80}")
    return value.strip()


def _patience(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 30:
        raise ConfigError(f"DeepgramSTT(patience_s=...) must be above 0 and at most 30 seconds, got {value!r}")
    return float(value)


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"DeepgramSTT({name}=...) must be True or False, got {value!r}")


def _milliseconds(name: str, value: object, least: int, most: int) -> int:
    if value is None or value is False or value == 0:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"DeepgramSTT({name}=...) must be {least} to {most} milliseconds, or None; got {value!r}")
    return value


def _listen_url(base: object) -> str:
    advice = f"DeepgramSTT(base_url=...) must be like wss://api.deepgram.com, got {base!r}"
    if not isinstance(base, str):
        raise ConfigError(advice)
    try:
        parts = urlsplit(base.strip())
        scheme = _SCHEMES[parts.scheme]
        if not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ConfigError(advice)
        _ = parts.port
    except (KeyError, ValueError) as error:
        raise ConfigError(advice) from error
    path = parts.path.rstrip("/")
    return (
        f"{scheme}://{parts.netloc}{path if path.endswith('/v1/listen') else path.removesuffix('/v1') + '/v1/listen'}"
    )
