import pytest

from mdb_cli.indexing import chosen, rows
from mdb_engine.exceptions import ConfigurationError
from mdb_engine.indexes import Report
from mdb_engine.manifest import parse

SHOP = parse({"slug": "shop", "name": "Shop"})


def test_one_app_or_all() -> None:
    assert chosen({"shop": SHOP}, None) == chosen({"shop": SHOP}, "shop") == {"shop": SHOP}
    with pytest.raises(ConfigurationError, match="crm"):
        chosen({"shop": SHOP}, "crm")


def test_a_row_per_index() -> None:
    assert rows("shop", Report(created=("a.i",), emulated=("a.v",))) == [
        {"app": "shop", "outcome": "created", "index": "a.i"},
        {"app": "shop", "outcome": "emulated", "index": "a.v"},
    ]
