import pytest

from mdb_engine.scope.commands import ALIASES, COMMANDS
from mdb_engine.scope.denied import DENIED, DENIED_PREFIXES, is_denied

NEVER_HEARD_OF = """
$eval FIND ServerStatus atlasVersion authSchemaUpgrade bulkWrite captrunc clone cloneCollection
collectionsToClone configureFailPoint copydb cpuload diagLogging echo emptycapped eval forceerror
geoNear geoSearch getLastError getPrevError getnonce godinsert group handshake hashBSONElement
journalLatencyTest logMessage makeSnapshot medianKey netstat parallelCollectionScan
planCacheListPlans planCacheListQueryShapes reapLogicalSessionCacheNow repairCursor repairDatabase
resetError shardConnPoolStats sleep stageDebug sysprofile testDeprecation touch unsetSharding
whatsmysni
"""


@pytest.mark.parametrize("name", sorted(DENIED))
def test_a_denied_command_exists_and_has_no_row(name: str) -> None:
    assert is_denied(name)
    assert name not in COMMANDS
    assert name not in ALIASES


@pytest.mark.parametrize("prefix", DENIED_PREFIXES)
def test_whole_families_are_denied(prefix: str) -> None:
    assert is_denied(f"{prefix}Whatever")
    assert not any(name.startswith(prefix) for name in (*COMMANDS, *ALIASES))


@pytest.mark.parametrize("name", [*NEVER_HEARD_OF.split(), ""])
def test_what_does_not_exist_is_not_denied(name: str) -> None:
    assert not is_denied(name)
