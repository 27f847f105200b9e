from mdb_proxy.auth.conversation import Step, failed


def test_a_step_holds_no_credential_until_the_end() -> None:
    assert Step(b"r=1", done=False).credential is None


def test_every_failure_has_one_text() -> None:
    assert (failed().reason, failed().code, failed().labels) == ("Authentication failed.", 18, ())
