"""Commands that exist, but not for tenants. A name in no table at all does not exist."""

from __future__ import annotations

from typing import Final

DENIED_PREFIXES: Final = (
    "_", "cluster", "donor", "internal", "recipient", "replSet", "streams_",
)  # fmt: skip

_USERS = """
createRole createUser dropAllRolesFromDatabase dropAllUsersFromDatabase dropRole dropUser
grantPrivilegesToRole grantRolesToRole grantRolesToUser invalidateUserCache oidcListKeys
oidcRefreshKeys revokePrivilegesFromRole revokeRolesFromRole revokeRolesFromUser updateRole
updateUser
"""
_CONTROL = """
analyze autoCompact cleanupOrphaned compact connPoolStats connPoolSync currentOp dropConnections
exportCollection fsync fsyncUnlock getAuditConfig getChangeStreamState getClusterParameter
getCmdLineOpts getDefaultRWConcern getDiagnosticData getFreeMonitoringStatus
getTrafficRecordingStatus importCollection killOp listDatabasesForAllTenants lockInfo
logApplicationMessage logRotate pinHistoryReplicated planCacheClear planCacheClearFilters
planCacheListFilters planCacheSetFilter profile reIndex releaseMemory removeQuerySettings
rotateCertificates rotateFTDC setAuditConfig setChangeStreamState setClusterParameter
setDefaultRWConcern setFeatureCompatibilityVersion setFreeMonitoring setIndexCommitQuorum
setParameter setProfilingFilterGlobally setQuerySettings setUserWriteBlockMode shutdown
startRecordingTraffic startTrafficRecording stopRecordingTraffic stopTrafficRecording top
"""
_REPLICATION = """
appendOplogNote applyOps resync
"""
_SHARDING = """
abortMoveCollection abortReshardCollection abortRewriteCollection abortUnshardCollection
addShard addShardToZone analyzeShardKey autoSplitVector balancerCollectionStatus balancerStart
balancerStatus balancerStop changePrimary checkMetadataConsistency checkShardingIndex
cleanupReshardCollection clearJumboFlag commitReshardCollection commitShardRemoval
commitTransitionToDedicatedConfigServer configureCollectionBalancing configureQueryAnalyzer
createUnsplittableCollection enableSharding flushRouterConfig getDatabaseVersion getShardMap
getShardVersion getShardingReady getTransitionToDedicatedConfigServerStatus listShards
mergeAllChunksOnShard mergeChunks moveChunk moveCollection movePrimary moveRange
recreateRangeDeletionTasks refineCollectionShardKey removeShard removeShardFromZone
repairShardedCollectionChunksHistory resetPlacementHistory reshardCollection rewriteCollection
setAllowMigrations setShardVersion shardCollection shardDrainingStatus shardingState split
splitChunk splitVector startShardDraining startTransitionToDedicatedConfigServer
stopShardDraining stopTransitionToDedicatedConfigServer timeseriesCatalogBucketParamsChanged
transitionFromDedicatedConfigServer transitionToDedicatedConfigServer transitionToShardedCluster
unshardCollection untrackUnshardedCollection updateZoneKeyRange
upgradeDowngradeViewlessTimeseries
"""
_ENCRYPTION = """
cleanupStructuredEncryptionData compactStructuredEncryptionData getQueryableEncryptionCountInfo
"""
_WHOLE = """
abortShardSplit commitShardSplit coordinateCommitTransaction dbCheck dbHash filemd5
forgetShardSplit killAllSessions killAllSessionsByPattern mapReduce mapreduce
prepareTransaction replicateSearchIndexCommand validateDBMetadata voteAbortIndexBuild
voteCommitImportCollection voteCommitIndexBuild waitForFailPoint
"""
DENIED: Final = frozenset(
    " ".join((_USERS, _CONTROL, _REPLICATION, _SHARDING, _ENCRYPTION, _WHOLE)).split()
)


def is_denied(name: str) -> bool:
    """Whether a command exists that tenants may not run."""
    return name in DENIED or name.startswith(DENIED_PREFIXES)
