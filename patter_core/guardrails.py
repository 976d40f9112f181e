"""``Guardrail(...)``: what an agent must never say, as people write it, and its way to plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .engines.guards import fold
from .engines.policy import GuardSpec
from .errors import ConfigError
from .lanes import Handler, Name, places_of

__all__ = ["Guardrail", "guardrail", "resolve_guards"]

_REPLACEMENT = "I'm sorry, I can't respond to that."
_GUARDS = 100
_TERMS = 2_000  # of one guardrail: each is looked for at every word that is said
_TERM_CHARS = 200
_REPLACEMENT_CHARS = 2_000


class Guardrail(msgspec.Struct, frozen=True):
    """Something that must not be said. ``replacement`` is said instead; '' says nothing.

    ``blocked_terms`` are looked for as whole words, in any case: write every form that counts (``ticket``,
    ``tickets``). ``check(text)`` returns True when the text must not be said; it may be async.
    """

    name: str
    blocked_terms: Iterable[str] | None = None
    check: Handler | None = None
    replacement: str = _REPLACEMENT

    def __post_init__(self) -> None:
        name: Any = self.name  # people write anything
        terms: Any = self.blocked_terms
        check: Any = self.check
        replacement: Any = self.replacement
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"a guardrail needs a name, such as Guardrail('no-medical-advice'); got {name!r}")
        where = f"guardrail {name!r}"
        if isinstance(terms, str):
            raise ConfigError(f"{where}: blocked_terms takes a list of terms, such as [{terms!r}]")
        try:
            terms = tuple(terms or ())
        except TypeError:
            raise ConfigError(f"{where}: blocked_terms takes a list of terms, got {terms!r}") from None
        msgspec.structs.force_setattr(self, "blocked_terms", terms)  # an iterator would be empty the next time
        _check_terms(where, terms)
        if check is None and not terms:
            raise ConfigError(f"{where} blocks nothing: give it blocked_terms=[...] or check=function")
        if check is not None and (not callable(check) or places_of(check, 1) != 1):
            raise ConfigError(f"{where}: check must be a function of the text, (text) -> bool; got {check!r}")
        if not isinstance(replacement, str) or len(replacement) > _REPLACEMENT_CHARS:
            raise ConfigError(f"{where}: replacement must be text of at most {_REPLACEMENT_CHARS} characters")


def _check_terms(where: str, terms: tuple[Any, ...]) -> None:
    if len(terms) > _TERMS:
        raise ConfigError(f"{where}: at most {_TERMS} blocked_terms, got {len(terms)}; use check= for more")
    for term in terms:
        if not isinstance(term, str) or not fold(term).strip():
            raise ConfigError(f"{where}: every blocked term must be text, got {term!r}")
        if len(term) > _TERM_CHARS:
            raise ConfigError(f"{where}: a blocked term has at most {_TERM_CHARS} characters, got {len(term)}")


def guardrail(
    name: str,
    blocked_terms: Iterable[str] | None = None,
    check: Handler | None = None,
    replacement: str = _REPLACEMENT,
) -> Guardrail:
    """The same, as a function."""
    return Guardrail(name, blocked_terms, check, replacement)


def resolve_guards(given: Any, name: Name) -> tuple[GuardSpec, ...]:
    """What was given as ``guardrails=`` as data: guardrails, or dicts with their keys."""
    if given is None:
        return ()
    if isinstance(given, Guardrail | Mapping):
        given = [given]
    if not isinstance(given, list | tuple):
        raise ConfigError(f"guardrails takes a list of Guardrail(...), got {type(given).__name__}")
    if len(given) > _GUARDS:
        raise ConfigError(f"at most {_GUARDS} guardrails, got {len(given)}: one may have many terms")
    guards = [_guardrail(one) for one in given]
    seen: set[str] = set()
    for one in guards:
        if one.name in seen:
            raise ConfigError(f"two guardrails are named {one.name!r}: give each its own name")
        seen.add(one.name)
    return tuple(
        GuardSpec(
            name=one.name,
            blocked_terms=tuple(one.blocked_terms or ()),
            check=None if one.check is None else name(f"guard:{one.name}", one.check),
            replacement=one.replacement,
        )
        for one in guards
    )


def _guardrail(given: Any) -> Guardrail:
    if isinstance(given, Guardrail):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(f"a guardrail is made by Guardrail(...), or a dict with its keys; got {type(given).__name__}")
    unknown = sorted(str(key) for key in given if key not in Guardrail.__struct_fields__)
    if unknown or "name" not in given:
        keys = ", ".join(Guardrail.__struct_fields__)
        raise ConfigError(f"a guardrail's dict has {keys}, and name always; got {', '.join(map(str, given)) or 'none'}")
    return Guardrail(**given)
