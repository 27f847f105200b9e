"""Subjects of certificates: one spelling for one name, and no name for two spellings."""

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from mdb_engine.exceptions import ConfigurationError
from mdb_engine.subjects import MAX_SUBJECT, canonical


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        ("CN=a,O=b", "CN=a,O=b"),
        ("cn=a, o=b", "CN=a,O=b"),
        ("  CN  =  a  ,  O  =  b  ", "CN=a,O=b"),
        ("2.5.4.3=a,2.5.4.10=b", "CN=a,O=b"),
        ("commonName=a,organizationName=b", "CN=a,O=b"),
        ("emailAddress=a@b,E=c@d,1.2.840.113549.1.9.1=e@f",
         "EMAILADDRESS=a@b,EMAILADDRESS=c@d,EMAILADDRESS=e@f"),
        ("S=x,ST=y", "ST=x,ST=y"),
        ("OU=b+CN=a", "CN=a+OU=b"),
        ("CN=a\\,b", "CN=a\\,b"),
        ("CN=a\\2cb", "CN=a\\,b"),
        ("CN=\\61", "CN=a"),
        ("CN=ü", "CN=ü"),
        ("CN=\\c3\\bc", "CN=ü"),
        ("CN=\\ a\\ ", "CN=\\ a\\ "),
        ("CN=\\20a", "CN=\\ a"),
        ("CN=\\ ", "CN=\\ "),
        ("CN=a b", "CN=a b"),
        ("CN=a=b", "CN=a=b"),
        ("CN=a\\=b", "CN=a=b"),
        ("CN=\\#0c", "CN=\\#0c"),
        ("CN=#0C01", "CN=#0c01"),
        ("CN=a#b", "CN=a#b"),
        ("CN=a\\0ab", "CN=a\\0ab"),
        ("CN=a\nb", "CN=a\\0ab"),
        ("CN=\\\\,O=\\\"\\;\\<\\>\\+", 'CN=\\\\,O=\\"\\;\\<\\>\\+'),
        ("1.2.3=x", "1.2.3=x"),
        ("X-Y=x", "X-Y=x"),
    ],
)  # fmt: skip
def test_one_spelling(written: str, ours: str) -> None:
    assert canonical(written) == ours
    assert canonical(ours) == ours


@pytest.mark.parametrize(
    "written",
    [
        "", " ", ",", "CN", "CN=", "CN= ", "=a", "CN=a,", ",CN=a", "CN=a+", "CN=a,,O=b", "/CN=a",
        "CN=a;O=b", 'CN="a"', "CN=a<b", "CN=a>b", "CN=a\\", "CN=a\\zb", "CN=a\\6", "CN=\\c3",
        "CN=\\ff", "CN=a\0", "CN=#", "CN=#0", "CN=#0g", "1=a", "1.=a", "C N=a", "é=a", "\\43N=\\",
        "CN=" + "a" * MAX_SUBJECT,
    ],
)  # fmt: skip
def test_what_is_no_subject(written: str) -> None:
    with pytest.raises(ConfigurationError):
        canonical(written)


KINDS = (
    x509.NameOID.COMMON_NAME,
    x509.NameOID.ORGANIZATION_NAME,
    x509.NameOID.ORGANIZATIONAL_UNIT_NAME,
    x509.NameOID.EMAIL_ADDRESS,
    x509.NameOID.SERIAL_NUMBER,
)
VALUES = st.text(
    st.characters(blacklist_categories=("Cs",)) | st.sampled_from(' #,+"\\<>;='),
    min_size=1,
    max_size=8,
)
NAMES = st.lists(st.tuples(st.sampled_from(KINDS), VALUES), min_size=1, max_size=3)


@given(NAMES, NAMES)
def test_names_are_equal_when_their_texts_are(one: list, other: list) -> None:
    """What the listener makes of a certificate, by a library, tells names apart as it should."""
    texts = []
    for parts in (one, other):
        found = x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])
        texts.append(canonical(found.rfc4514_string()))
    assert (texts[0] == texts[1]) is (one == other)
