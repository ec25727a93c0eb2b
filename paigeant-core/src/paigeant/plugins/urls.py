"""URLs of brokers, which may name several hosts."""

from __future__ import annotations

import re
from urllib.parse import SplitResult

_PARTS = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_NO_PART = dict.fromkeys(map(ord, "\t\r\n"))  # nor are they for ``urlsplit``: a file that holds the URL may end so


def split_url(url: str) -> SplitResult:
    """The parts of ``url``, as they are written there; checks nothing, raises nothing.

    The regular expression is that of RFC 3986, appendix B. ``urllib.parse.urlsplit`` takes what stands between ``//``
    and ``/`` for one host, and refuses ``a,[::1]`` from Python 3.11.12, 3.12.9 and 3.13.2 on.
    """
    found = _PARTS.fullmatch(url.translate(_NO_PART).strip())
    assert found is not None  # every text matches
    scheme, *rest = (part or "" for part in found.groups())
    return SplitResult(scheme.lower(), *rest)
