"""Keys on their way from what people write to the edge: options hold them, specs and orders hold their names."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Resolving", "Secret"]

Secret = tuple[str, str]
"""A header's name and its whole value; the name is '' for a key that signs."""


class Resolving:
    """One resolution of options: the environment, what is missing from it, and the secrets found."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.missing: list[str] = []
        self.secrets: dict[str, Secret] = {}

    def key(self, given: str | None, variable: str) -> str:
        """A key from the option, else from the environment; '' notes the variable as missing."""
        value = given or self.environ.get(variable, "")
        if not value and variable not in self.missing:
            self.missing.append(variable)
        return value

    def secret(self, provider: str, header: str, value: str) -> str:
        """Put a header with a secret into the table; returns its name. The same header and value has one name."""
        return self._put(provider, (header, value))

    def signing(self, key: str) -> str:
        """Put a signing key into the table; returns its name, '' for no key."""
        return self._put("signing", ("", key)) if key else ""

    def _put(self, provider: str, secret: Secret) -> str:
        number = 1
        while (name := provider if number == 1 else f"{provider}{number}") in self.secrets:
            if self.secrets[name] == secret:
                return name
            number += 1
        self.secrets[name] = secret
        return name
