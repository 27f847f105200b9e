import pytest

from mdb_engine import config


def test_the_environment_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*config.URI_NAMES, *config.DATABASE_NAMES):
        monkeypatch.delenv(name, raising=False)
    assert (config.mongo_uri(), config.db_name()) == ("mongodb://localhost:27017", "mdb")
    monkeypatch.setenv("MONGODB_URI", "mongodb://b")
    monkeypatch.setenv("MDB_DB_NAME", "b")
    assert (config.mongo_uri(), config.db_name()) == ("mongodb://b", "b")
    monkeypatch.setenv("MONGO_URI", "mongodb://a")
    monkeypatch.setenv("MONGO_DB_NAME", "a")
    assert (config.mongo_uri(), config.db_name()) == ("mongodb://a", "a")
