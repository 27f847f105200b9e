"""What passes between supervisor and worker, there and back."""

import pytest

from mdb_engine.manifest import load_folder
from mdb_proxy.orders import Order, Report, order_in, packed, report_in, unpacked
from tests.support.programs import ROOT

ORDER = Order(
    number=0,
    workers=2,
    mongo_uri="mongodb://u:secret@h",
    db_name="db",
    listeners=['{"host": "127.0.0.1", "port": 1}'],
    folder="/f",
    log_level="info",
    log_format="json",
)


def test_an_order() -> None:
    manifests = load_folder(ROOT / "manifests")
    order = ORDER.to(2, manifests)
    assert order.line().count(b"\n") == 1
    assert order_in(order.line()) == order
    assert unpacked(order.manifests) == manifests
    assert "secret" not in repr(order)


def test_manifests_are_what_they_were() -> None:
    manifests = load_folder(ROOT / "manifests")
    assert unpacked(packed(manifests)) == manifests
    assert unpacked([]) == {}


@pytest.mark.parametrize(
    ("line", "report"),
    [
        (Report("ready").line().encode(), Report("ready")),
        (
            Report("failed", 4, "no\ncluster").line().encode() + b"\n",
            Report("failed", 4, "no\ncluster"),
        ),
        (b"some library prints\n", Report("", sentence="some library prints")),
        (b"[1]", Report("", sentence="[1]")),
        (b'{"x": 1}', Report("", sentence='{"x": 1}')),
        (b"\xff", Report("", sentence="\ufffd")),
    ],
)
def test_reports(line: bytes, report: Report) -> None:
    assert report_in(line) == report
    assert "\n" not in report.line()
