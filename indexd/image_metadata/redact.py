"""Raw texts made fit to be shown: addresses in them may carry signatures that open other people's files."""

from __future__ import annotations

import re

# Between parameters stands `&`, or one of the forms in which JSON, HTML and addresses within addresses write it.
_BETWEEN = r"(?:[?&;]|&amp;|\\u0026|\\u003[fF]|%26|%3[fF])"
_EQUALS = r"(?:=|\\u003[dD]|%3[dD])"
_NAME = (
    r"(?:[\w.-]*(?:sig|signature|token|secret|password|credential|policy|expires)|(?:[\w.-]*-|api_?|access_?|account_?)?key"
    r"|awsaccesskeyid|googleaccessid|key-pair-id|hmac|st|se|sp|sv|sr|skoid|sktid)"
)
_SECRET = re.compile(
    rf"({_BETWEEN}{_NAME}{_EQUALS})(?:(?!%26|&)[^\s\"'<>\\])+",
    re.IGNORECASE,
)


def redact_secrets(text: str) -> str:
    """The same text with the signatures of its addresses replaced by `…` (Civitai's graphs have such addresses)."""
    return _SECRET.sub(r"\1…", text)
