"""Who may come in: the token, and the pages that a browser may connect from."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Access:
    """token: empty when none is asked for. origins: of pages from elsewhere that may connect; `*` is any.

    is_local: the server listens on this machine alone. Its own page must then have been loaded by a name of this
    machine: a name of somebody else's that resolves to it is how other pages would get in.
    """

    token: str = ""
    origins: tuple[str, ...] = ()
    is_local: bool = True

    def knows_token(self, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Whether the token came as `Authorization: Bearer` or as `token=`; the time taken does not tell how wrong."""
        if not self.token:
            return True
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else query.get("token", "")
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def allows_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether it is no browser, our own page, or a page that is allowed."""
        origin = headers.get("origin")
        if origin is None or "*" in self.origins or origin in self.origins:
            return True
        try:
            page = urlsplit(origin)
            is_own = page.netloc.lower() == headers.get("host", "").lower()
            return is_own and (not self.is_local or page.hostname in _LOOPBACK)
        except ValueError:
            return False
