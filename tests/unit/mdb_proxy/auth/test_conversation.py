from mdb_proxy.auth.conversation import Step, failed, made_up
from tests.support.talks import gate


def test_a_step_holds_nobody_until_the_end() -> None:
    assert Step(b"r=1", done=False).holder is None


def test_every_failure_has_one_text() -> None:
    assert (failed().reason, failed().code, failed().labels) == ("Authentication failed.", 18, ())


def test_by_subject_there_is_nobody_unless_told_otherwise() -> None:
    assert gate().by_subject("CN=a") is None


def test_keys_are_made_up_for_each_name_and_mechanism() -> None:
    found = [
        made_up(secret, mechanism, name)
        for secret in (b"k" * 32, b"l" * 32)
        for mechanism in ("SCRAM-SHA-1", "SCRAM-SHA-256")
        for name in ("a", "b")
    ]
    assert len({keys.salt for keys in found}) == len({keys.stored_key for keys in found}) == 8
    assert {len(keys.stored_key) for keys in found} == {20, 32}
    assert made_up(b"k" * 32, "SCRAM-SHA-1", "a") == found[0]
