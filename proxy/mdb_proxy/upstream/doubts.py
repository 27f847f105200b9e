"""What we know better than the driver's monitors: members whose description is out of date.

A member that just refused a command as no primary is described as one until its monitor hears of
it. Source: MongoDB server discovery and monitoring specification, "topologyVersion".
"""

from dataclasses import dataclass

from pymongo.server_description import ServerDescription

from mdb_proxy.upstream.resending import Version

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a description is not believed.

    Attributes:
        description: the one that was current then. version: how new a believable one is.
        firm: the member itself said so; else it was only not reached.
    """

    description: ServerDescription
    version: Version | None
    firm: bool


class Doubts:
    """The doubts of all members; each ends with a newer description."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Address, Doubt] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def add(self, address: Address, doubt: Doubt) -> None:
        """Do not believe this member's description."""
        self._known[address] = doubt

    def without(self, members: list[ServerDescription]) -> list[ServerDescription]:
        """Those members whose description can be believed; who was not reached is the last choice.

        Gives none when each of them said itself that it is something else by now.
        """
        possible = [each for each in members if not self._doubted(each, firm=True)]
        return [each for each in possible if not self._doubted(each, firm=False)] or possible

    def _doubted(self, member: ServerDescription, firm: bool) -> bool:
        address = member.address[0], member.address[1] or 0
        doubt = self._known.get(address)
        if doubt is None or doubt.firm != firm:
            return False
        if _newer(member, doubt):
            del self._known[address]
            return False
        return True


def _newer(member: ServerDescription, doubt: Doubt) -> bool:
    known = member.topology_version
    if doubt.version is not None and known is not None:
        process, counter = known["processId"].binary, known["counter"]
        if process == doubt.version.process:
            return bool(counter >= doubt.version.counter)
    return member is not doubt.description
