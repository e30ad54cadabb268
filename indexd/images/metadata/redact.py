"""Raw texts made fit to be shown: addresses in them may carry signatures that open other people's files."""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"([?&;](?:sig|signature|token|access_token|key|x-amz-signature|x-amz-credential|x-goog-signature|policy|st|se)=)[^&\s\"'<>\\]+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The same text with the signatures of its addresses replaced by `…` (Civitai's graphs have such addresses)."""
    return _SECRET.sub(r"\1…", text)
