"""The cluster's logical time: the newest `$clusterTime` that any member told us goes to the others.

Source: MongoDB driver sessions specification, "Gossipping the cluster time". A standalone never
tells one, so that it is never sent one.
"""

from typing import Final

from mdb_engine import rawbson

_NAME: Final = b"$clusterTime"
_TIMESTAMP: Final = 0x11


class ClusterClock:
    """Remembers one BSON element.

    Attributes:
        element: the newest `$clusterTime` as it came, name and type included; empty before.
    """

    __slots__ = ("_newest", "element")

    def __init__(self) -> None:
        self.element = b""
        self._newest = 0

    def note(self, reply: bytes) -> set[bytes]:
        """Look into a reply; gives the names of its fields, so that nobody need walk it again.

        Raises:
            InvalidBSONError: it is not a document.
        """
        names = set()
        for item in rawbson.walk(reply):
            names.add(item.name)
            if item.name == _NAME:
                element = reply[item.begin : item.stop]
                if element != self.element:
                    self._compare(element, reply[item.start : item.stop])
        return names

    def _compare(self, element: bytes, document: bytes) -> None:
        time = rawbson.find(document, "clusterTime")
        if isinstance(time, rawbson.Raw) and time.kind == _TIMESTAMP:
            # seconds stand in the high half and the counter in the low one: one number to compare
            number = int.from_bytes(time.data, "little")
            if number > self._newest:
                self._newest, self.element = number, element
