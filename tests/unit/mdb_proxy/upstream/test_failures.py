import bson
import pytest

from mdb_proxy.upstream.failures import labels


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
