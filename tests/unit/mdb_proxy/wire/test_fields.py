import pytest

from mdb_proxy.wire.fields import cut_document, cut_text
from mdb_proxy.wire.frames import WireError

EMPTY = b"\5\0\0\0\0"


@pytest.mark.parametrize(
    ("data", "start", "end", "document", "behind"),
    [
        (EMPTY, 0, 5, EMPTY, 5),
        (b"xx" + EMPTY + b"yy", 2, 9, EMPTY, 7),
        (b"\6\0\0\0\xff\xff", 0, 6, b"\6\0\0\0\xff\xff", 6),
    ],
)
def test_a_document_is_cut_by_its_length(
    data: bytes, start: int, end: int, document: bytes, behind: int
) -> None:
    assert cut_document(data, start, end) == (document, behind)


@pytest.mark.parametrize(
    ("data", "start", "end"),
    [
        (EMPTY, 0, 4),
        (EMPTY, 0, 3),
        (EMPTY, 6, 5),
        (b"\4\0\0\0\0", 0, 5),
        (b"\xff\xff\xff\xff\0", 0, 5),
        (b"\6\0\0\0\0", 0, 5),
    ],
)
def test_a_document_that_does_not_fit_is_refused(data: bytes, start: int, end: int) -> None:
    with pytest.raises(WireError):
        cut_document(data, start, end)


@pytest.mark.parametrize(
    ("data", "found"), [(b"ab\0c", ("ab", 3)), (b"\0", ("", 1)), ("ü\0".encode(), ("ü", 3))]
)
def test_a_text_ends_at_its_nul(data: bytes, found: tuple[str, int]) -> None:
    assert cut_text(data, 0, len(data)) == found


@pytest.mark.parametrize("data", [b"", b"ab", b"\xff\0"])
def test_a_text_without_end_or_of_other_bytes_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        cut_text(data, 0, len(data))
