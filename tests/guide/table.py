"""What each block of the guide takes for granted, by heading and number, and what it does."""

from dataclasses import dataclass, field

AUTH, SOCKETS, EMBEDDINGS, MEMORY = "auth", "sockets", "embeddings", "memory"


@dataclass(frozen=True, slots=True)
class Call:
    """One request: method, path, body, and a name that the answer holds; 200 is expected."""

    method: str
    path: str
    body: dict[str, str] = field(default_factory=dict)
    gives: str = ""


@dataclass(frozen=True, slots=True)
class Python:
    """One Python block.

    Attributes:
        owner: the service that it needs, when that is not there yet.
        needs: names that it takes for granted, made by PRELUDES.
        raises: statement (from 0) -> name of the error that it is said to raise.
        fill: what stands in the place of an ellipsis or an empty body.
        calls: what a client asks of the app that it makes, besides every GET without parameters.
    """

    owner: str = ""
    needs: tuple[str, ...] = ()
    raises: dict[int, str] = field(default_factory=dict)
    fill: dict[str, str] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()


DB = ("engine", "db")
HTTP = ("engine", "app")
EMPTY_WITH = {"as engine:\n    # ... use engine": "as engine:\n    pass"}
QUERY, VALUE = "QueryValidationError", "ValueError"

PYTHON: dict[tuple[str, int], Python] = {
    ("Key Philosophy", 1): Python(needs=DB),
    ("Step 2: Initialize Engine in FastAPI", 1): Python(
        calls=(Call("POST", "/tasks", {"title": "a task"}, "id"),)
    ),
    ("Loading and Validating Manifests", 1): Python(
        fill={'mongo_uri="..."': "mongo_uri=mongo_uri", 'db_name="..."': "db_name=db_name"},
        needs=("mongo_uri", "db_name"),
    ),
    ("Reloading Apps", 1): Python(needs=("engine",)),
    ("Getting a Scoped Database", 1): Python(needs=("engine",)),
    ("CRUD Operations", 1): Python(needs=("engine", "datetime")),
    ("Aggregation Pipelines", 1): Python(needs=DB),
    ("Setup in FastAPI", 1): Python(owner=AUTH),
    ("Using Authentication in Routes", 1): Python(owner=AUTH),
    ("User Management", 1): Python(owner=AUTH),
    ("Optional Security Decorators", 1): Python(owner=AUTH),
    ("Automatic Index Creation", 1): Python(needs=("engine", "manifest")),
    ("Auto-Index Manager", 1): Python(needs=("engine",)),
    ("Setup", 1): Python(owner=SOCKETS),
    ("WebSocket Endpoint", 1): Python(owner=SOCKETS),
    ("Broadcasting Messages", 1): Python(owner=SOCKETS),
    ("Message Handlers", 1): Python(owner=SOCKETS),
    ("Embedding Service", 1): Python(owner=EMBEDDINGS),
    ("Memory Service (Mem0)", 1): Python(owner=MEMORY),
    ("Memory Service (Mem0)", 2): Python(owner=MEMORY),
    ("Health Checks", 1): Python(needs=HTTP),
    ("Metrics", 1): Python(needs=HTTP),
    ("Logging", 1): Python(),
    ("Pattern 1: FastAPI Application with Auth", 1): Python(owner=AUTH),
    ("Pattern 2: CRUD API", 1): Python(owner=AUTH),
    ("Pattern 3: Real-time Updates with WebSockets", 1): Python(owner=SOCKETS),
    ("Pattern 4: RAG Application", 1): Python(owner=EMBEDDINGS),
    ("Pattern 5: Context Manager Usage", 1): Python(
        needs=("registered", "MongoDBEngine", "mongo_uri", "db_name")
    ),
    ("1. Always Use Scoped Database", 1): Python(needs=("engine",)),
    ("2. Initialize Engine Once", 1): Python(needs=(*HTTP, "manifest")),
    ("3. Use Manifest for Configuration", 1): Python(needs=DB),
    ("4. Handle Errors Gracefully", 1): Python(needs=("engine", "task", "logger")),
    ("5. Use Dependency Injection for Database", 1): Python(needs=(*HTTP, "stored")),
    ("6. Leverage Auto-Indexing", 1): Python(),
    ("7. Use Context Managers for Cleanup", 1): Python(
        fill=EMPTY_WITH, needs=("MongoDBEngine", "mongo_uri", "db_name", "app")
    ),
    ("Complete Example: Todo App", 1): Python(owner=AUTH),
    ("Query Security", 1): Python(needs=DB, raises={0: QUERY, 1: QUERY}),
    ("Resource Limits", 1): Python(needs=DB),
    ("Resource Limits", 2): Python(needs=DB),
    ("Resource Limits", 3): Python(needs=DB, raises={1: "ResourceLimitExceeded"}),
    ("Collection Naming", 1): Python(needs=DB, raises={3: VALUE, 4: VALUE, 5: VALUE, 6: VALUE}),
    ("Cross-App Access", 1): Python(needs=("engine",), raises={1: VALUE}),
}

MODULES: dict[str, str] = {
    "bson": "pymongo",
    "datetime": "",
    "fastapi": "fastapi",
    "mdb_engine": "",
    "pathlib": "",
}
"""Every module that a block imports -> the package that has it; "" for Python's and our own."""

WHOLE, SECTION, INDEX = "whole", "section", "index"

JSON: dict[tuple[str, int], str] = {
    ("Step 1: Create `manifest.json`", 1): WHOLE,
    ("Basic Manifest Structure", 1): WHOLE,
    ("Manifest Configuration", 1): SECTION,
    ("Manifest Configuration", 2): SECTION,
    ("Defining Indexes in Manifest", 1): SECTION,
    ("Index Types", 1): INDEX,
    ("Index Types", 2): INDEX,
    ("Index Types", 3): INDEX,
    ("Index Types", 4): INDEX,
    ("Index Types", 5): INDEX,
    ("Embedding Service", 1): SECTION,
    ("Memory Service (Mem0)", 1): SECTION,
    ("Complete Example: Todo App", 1): WHOLE,
}
"""Whether a block is a manifest, some of its sections, or one index of a collection."""
