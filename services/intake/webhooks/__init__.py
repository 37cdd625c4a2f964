"""Other systems' own words, made into the events that intake reads already. One file per system, found by lying here.

To add a system: a file `<kind>.py` with `is_signed(secret, headers, raw) -> bool` and `read(headers, body, issuer) -> Inbound |
NotOurs`, and its test. Both are pure. What a system says beyond what is read is ignored; what is not about a change is
`NotOurs`, with the reason; what is, and cannot be true, is refused (`shared.errors.Invalid`, one plain sentence).

A system that is let in has a name, a secret and an integration in whose name it speaks: the setting `DAYMARK_WEBHOOKS`,

    {"github": {"kind": "github", "secrets": ["..."], "integration": "local|github", "issuer": "local"}}

and posts to `/intake/v1/webhooks/<name>`. `issuer` is who vouches for the people that it names; left out, the kind.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from shared.access import person
from shared.contracts.cloudevents import Inbound
from shared.doors.strict import refuse_unseen, strict_loads
from shared.errors import UnsupportedMedia

#: A secret shorter than this can be guessed from one signed delivery.
LEAST_SECRET = 16
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")


@dataclass(frozen=True, slots=True)
class NotOurs:
    """A delivery that was heard, and says nothing of a change. `reason`: one sentence for who set the webhook up."""

    reason: str


class Webhook(Protocol):
    """What a file in this folder offers. Headers are asked for in lower case."""

    def is_signed(self, secret: bytes, headers: Mapping[str, str], raw: bytes) -> bool:
        """Whether who knows `secret` sent exactly these bytes. Compares in constant time."""
        ...

    def read(self, headers: Mapping[str, str], body: Any, issuer: str) -> Inbound | NotOurs:
        """The event in a delivery, its id the delivery's own. Raises Invalid."""
        ...


@dataclass(frozen=True, slots=True)
class Hook:
    """A system that is let in: whose words it speaks, what proves that it does, and in whose name."""

    name: str
    system: Webhook
    secrets: tuple[bytes, ...] = field(repr=False)  #: any of them, so that one can be changed without a gap
    integration: str  #: `issuer|subject` of a principal
    issuer: str

    def is_signed(self, headers: Mapping[str, str], raw: bytes) -> bool:
        # All are tried, so that the time taken does not tell which one fitted.
        fitted = [self.system.is_signed(secret, headers, raw) for secret in self.secrets]
        return any(fitted)

    def read(self, headers: Mapping[str, str], raw: bytes) -> Inbound | NotOurs:
        """What was delivered, once it is known to be signed. Raises UnsupportedMedia, Malformed, Invalid."""
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise UnsupportedMedia("Let the webhook send application/json.")
        found = self.system.read(headers, strict_loads(raw), self.issuer)
        if isinstance(found, Inbound):
            refuse_unseen(found.data)
        return found


def kinds() -> tuple[str, ...]:
    """The systems whose words are read: the names of the files here."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def open_hook(name: str, settings: Mapping[str, Any]) -> Hook:
    """The hook of that name. Raises ValueError, with no secret in it, when the settings do not make one."""
    known = {"kind", "secrets", "integration", "issuer"}
    if not _NAME.fullmatch(name):
        raise ValueError("a webhook's name is of small letters, digits and hyphens: it stands in an address")
    if unknown := sorted(settings.keys() - known):
        raise ValueError(f"webhook {name}: {', '.join(unknown)} is no setting of it; known: {', '.join(sorted(known))}")
    kind, secrets, integration = settings.get("kind"), settings.get("secrets"), settings.get("integration")
    if kind not in kinds():
        raise ValueError(f"webhook {name}: its kind must be one of {', '.join(kinds())}")
    if not (isinstance(secrets, list) and secrets and all(isinstance(one, str) for one in secrets)):
        raise ValueError(f"webhook {name}: secrets is a list of one, or of two while one is being changed")
    if any(len(one) < LEAST_SECRET for one in secrets):
        raise ValueError(f"webhook {name}: a secret has at least {LEAST_SECRET} characters")
    if not (isinstance(integration, str) and integration.strip()):
        raise ValueError(f"webhook {name}: integration is the principal that it speaks for, for example local|{name}")
    system = cast(Webhook, importlib.import_module(f"{__name__}.{kind}"))
    issuer = str(settings.get("issuer") or kind)
    return Hook(name, system, tuple(one.encode() for one in secrets), person(integration), issuer)


__all__ = ["Hook", "NotOurs", "Webhook", "kinds", "open_hook"]
