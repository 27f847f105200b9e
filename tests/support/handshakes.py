"""TLS by hand, in memory: a context of ours and a client's, until both have what they want."""

import ssl
from pathlib import Path


def shake(
    ours: ssl.SSLContext, theirs: ssl.SSLContext, name: str | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Give both ends of a connection after their handshake."""
    to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = ours.wrap_bio(to_us, to_them, server_side=True)
    there = theirs.wrap_bio(to_them, to_us, server_hostname=name)
    left = [there, here]
    while left:
        for end in list(left):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            left.remove(end)
    return here, there


def trusting(authority: Path, own: Path | None = None) -> ssl.SSLContext:
    """Give a client's context; the names of servers are not looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority)
    if own is not None:
        context.load_cert_chain(own)
    return context
