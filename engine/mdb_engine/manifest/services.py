"""Sections of the sidecar's services: websockets, embeddings, memory, CORS, observability."""

from typing import Annotated, Literal

from pydantic import Field, Strict

from mdb_engine.manifest.base import Collection, Count, Flag, Section, Texts, Whole

Route = Annotated[str, Field(pattern=r"^/[a-zA-Z0-9_/-]+$")]


class WebSocketAuth(Section):
    """`websockets.<name>.auth`."""

    required: Flag = True
    allow_anonymous: Flag = False


class WebSocket(Section):
    """`websockets.<name>`. `ping_interval` in seconds."""

    path: Route
    auth: WebSocketAuth = WebSocketAuth()
    description: str | None = None
    ping_interval: Annotated[int, Strict(), Field(ge=5, le=300)] = 30


Tokens = Annotated[int, Strict(), Field(ge=100, le=10_000)]


class Embeddings(Section):
    """`embedding_config`. The two `default_*` keys are second spellings of the ones above them."""

    enabled: Flag = False
    provider: Literal["openai", "azure", "compatible", "model2vec", "hash"] | None = None
    max_tokens_per_chunk: Tokens = 1_000
    tokenizer_model: str = "gpt-3.5-turbo"
    default_max_tokens: Tokens | None = None
    default_tokenizer_model: str | None = None
    default_embedding_model: str = "text-embedding-3-small"


class Memory(Section):
    """`memory_config`."""

    enabled: Flag = False
    provider: Literal["own", "mem0"] = "own"
    collection_name: Collection | None = None
    embedding_model_dims: Annotated[int, Strict(), Field(ge=128, le=4_096)] = 1_536
    enable_graph: Flag = False
    infer: Flag = True
    embedding_model: str | None = None
    chat_model: str | None = None
    temperature: Annotated[float, Strict(), Field(ge=0.0, le=2.0)] = 0.0
    async_mode: Flag = True


class Cors(Section):
    """`cors`. `max_age` in seconds."""

    enabled: Flag = False
    allow_origins: Texts = ("*",)
    allow_credentials: Flag = False
    allow_methods: Texts = ("GET", "POST", "PUT", "DELETE", "PATCH")
    allow_headers: Texts = ("*",)
    expose_headers: Texts = ()
    max_age: Whole = 3_600


class HealthChecks(Section):
    """`observability.health_checks`."""

    enabled: Flag = True
    endpoint: Annotated[str, Field(pattern=r"^/[a-zA-Z0-9_/-]*$")] = "/health"
    interval_seconds: Annotated[Count, Field(ge=5)] = 30


class Metrics(Section):
    """`observability.metrics`."""

    enabled: Flag = True
    collect_operation_metrics: Flag = True
    collect_performance_metrics: Flag = True
    custom_metrics: Texts = ()


class Logging(Section):
    """`observability.logging`."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    format: Literal["json", "text"] = "json"
    include_request_id: Flag = True
    log_sensitive_data: Flag = False


class Observability(Section):
    """`observability`."""

    health_checks: HealthChecks = HealthChecks()
    metrics: Metrics = Metrics()
    logging: Logging = Logging()
