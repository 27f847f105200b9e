"""Certificates: which subject is whose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdb_engine.exceptions import AuthenticationFailedError
from mdb_proxy.auth.x509 import X509Conversation
from tests.support.talks import credential, gate

SUBJECT = r"CN=bot\, the second,OU=a+UID=7,O=Example"
BOT = credential("bot", "shop", x509=SUBJECT)


def conversation(subject: str = SUBJECT, *, secure: bool = True) -> X509Conversation:
    return X509Conversation(gate(secure=secure, subject=subject, by_subject={SUBJECT: BOT}.get))


@pytest.mark.parametrize(
    "subject",
    [
        SUBJECT,
        r"cn=bot\2c the second, ou=a + uid=7, o=Example",
        r"CN=bot\, the second,0.9.2342.19200300.100.1.1=7+2.5.4.11=a,O=\45xample",
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_one_name_in_other_spellings(subject: str, named: bool) -> None:
    found = conversation(subject)
    step = found.step(subject.encode() if named else b"")
    assert (step.done, step.echoed, step.holder) == (True, False, BOT)
    assert found.name == "bot"


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "bot",
        r"O=Example,OU=a+UID=7,CN=bot\, the second",
        r"CN=bot\, the second,OU=a,UID=7,O=Example",
        r"CN=bot\,  the second,OU=a+UID=7,O=Example",
        r"CN=bot\, the second\ ,OU=a+UID=7,O=Example",
        r"CN=Bot\, the second,OU=a+UID=7,O=Example",
        r"CN=bot\, the second,OU=a+UID=7,O=Example,C=DE",
        r"CN=bot\, the second,OU=a+UID=7",
        "CN=bot, the second,OU=a+UID=7,O=Example",
        r"CN=bot\, the second\,OU=a+UID=7\,O=Example",
        r"CN=bot\, the second\00,OU=a+UID=7,O=Example",
    ],
)
def test_other_names(subject: str) -> None:
    with pytest.raises(AuthenticationFailedError):
        conversation(subject).step(b"")


def test_without_tls_there_is_no_certificate() -> None:
    with pytest.raises(AuthenticationFailedError):
        conversation(secure=False).step(b"")


@pytest.mark.parametrize("named", [b"CN=other", b"\xff", b"bot", b"\0"])
def test_who_names_another_subject_is_refused(named: bytes) -> None:
    found = conversation()
    with pytest.raises(AuthenticationFailedError):
        found.step(named)
    assert found.name == SUBJECT, "its own, verified"


@given(st.binary(max_size=60), st.text(max_size=60))
def test_junk_is_a_failed_login_and_nothing_else(junk: bytes, subject: str) -> None:
    with pytest.raises(AuthenticationFailedError):
        conversation(subject).step(junk)
