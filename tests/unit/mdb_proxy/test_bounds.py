"""What clients may take, and each process's part of it."""

from mdb_proxy.bounds import SHARED, Bounds


def test_parts() -> None:
    whole = Bounds()
    part = whole.shared(4)
    for name in Bounds.model_fields:
        if name in SHARED:
            assert getattr(part, name) == -(-getattr(whole, name) // 4)
        else:
            assert getattr(part, name) == getattr(whole, name)
    assert whole.shared(1) == whole
    assert Bounds(max_connections=2).shared(8).max_connections == 1
