"""Notifies systemd with a datagram to $NOTIFY_SOCKET, see sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)


def sd_notify(**fields: str) -> None:
    """Send fields such as `READY=1`, `STATUS=…` or `STOPPING=1`; without systemd, do nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    # systemd would read the text after a line break as another field.
    message = "\n".join(f"{key}={' '.join(value.split())}" for key, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(message.encode("utf-8", "replace"), address)
    except OSError as error:
        log.debug("cannot notify the service manager of %r: %s", message, error)
