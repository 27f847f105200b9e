import ssl

import bson
import pytest

from mdb_engine.exceptions import UpstreamError
from mdb_proxy.upstream.failures import TurnedAwayError, is_final, labels


@pytest.mark.parametrize(
    ("command", "earned"),
    [
        ({"find": "t"}, ()),
        ({"insert": "t"}, ()),
        ({"insert": "t", "txnNumber": 1}, ("RetryableWriteError",)),
        ({"insert": "t", "txnNumber": 1, "autocommit": False}, ("TransientTransactionError",)),
        ({"find": "t", "txnNumber": 1, "autocommit": False}, ("TransientTransactionError",)),
        ({"commitTransaction": 1, "txnNumber": 1, "autocommit": False}, ("RetryableWriteError",)),
        ({"abortTransaction": 1, "txnNumber": 1, "autocommit": False}, ("RetryableWriteError",)),
    ],
)
def test_labels_tell_the_driver_what_may_be_repeated(command, earned):
    assert labels(bson.encode({**command, "$db": "shop"})) == earned


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (None, False),
        (OSError("refused"), False),
        (UpstreamError("no answer"), False),
        (TurnedAwayError("no"), True),
        (ssl.SSLCertVerificationError("unknown authority"), True),
        (ssl.SSLError("wrong version number"), True),
        (ssl.SSLEOFError("the server is starting"), False),
        (caused(UpstreamError("cannot connect"), ssl.SSLError("no")), True),
        (caused(UpstreamError("cannot connect"), OSError("no")), False),
    ],
)
def test_what_will_not_pass_by_itself(error, final):
    assert is_final(error) is final
