"""What `mdb apps credentials` hands on. The store itself: tests/e2e."""

from mdb_cli.credentials import Made, Order


def test_no_password_is_shown_by_accident() -> None:
    made = Made("shop", "s3cret", "mongodb://shop:s3cret@h:1/shop", known=True)
    order = Order("shop", None, "s3cret", "h:1")
    assert "s3cret" not in f"{made}{order}"
