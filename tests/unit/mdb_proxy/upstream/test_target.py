import asyncio
import ssl

import pytest

from mdb_engine.exceptions import ConfigurationError
from mdb_proxy.upstream.target import Login, Target, read_target


def read(uri):
    return asyncio.run(read_target(uri))


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("mongodb://a,b:5", Target(("a:27017", "b:5"))),
        (
            "mongodb://me:p%40ss@a/",
            Target(("a:27017",), login=Login("me", "p@ss", "admin")),
        ),
        (
            "mongodb://me:pw@a/shop?authMechanism=SCRAM-SHA-1",
            Target(("a:27017",), login=Login("me", "pw", "shop", "SCRAM-SHA-1")),
        ),
        (
            "mongodb://me:pw@a/shop?authSource=users&authMechanism=DEFAULT",
            Target(("a:27017",), login=Login("me", "pw", "users")),
        ),
        (
            "mongodb://a/?connectTimeoutMS=2000&socketTimeoutMS=500",
            Target(("a:27017",), connect_seconds=2, reply_seconds=0.5),
        ),
        ("mongodb://a/?heartbeatFrequencyMS=5000", Target(("a:27017",), heartbeat_seconds=5)),
        ("mongodb://a/?maxPoolSize=32", Target(("a:27017",), pool_size=32)),
        ("mongodb://a/?maxPoolSize=0", Target(("a:27017",))),
        ("mongodb://a/?connectTimeoutMS=0&socketTimeoutMS=0", Target(("a:27017",))),
    ],
)
def test_what_the_uri_says(uri, target):
    assert read(uri) == target


@pytest.mark.parametrize(
    ("options", "mode", "hostname"),
    [
        ("", ssl.CERT_REQUIRED, True),
        ("&tlsAllowInvalidHostnames=true", ssl.CERT_REQUIRED, False),
        ("&tlsAllowInvalidCertificates=true", ssl.CERT_NONE, False),
        ("&tlsInsecure=true", ssl.CERT_NONE, False),
    ],
)
def test_tls_options(options, mode, hostname):
    tls = read(f"mongodb://a/?tls=true{options}").tls
    assert (tls.verify_mode, tls.check_hostname) == (mode, hostname)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://a", "URI"),
        ("mongodb://me:tops3cret@a/?nosuch=1", "nosuch"),
        ("mongodb://me:tops3cret@a/?tls=maybe", "tls"),
        ("mongodb://me:x?tops3cret@a", "percent-encoded"),
        ("mongodb://me:tops3cret/x@a:b", "Port"),
        ("mongodb://me:tops3cret@a/?loadBalanced=true", "loadBalanced"),
        ("mongodb://a/?authMechanism=MONGODB-X509", "needs tls=true"),
        ("mongodb://a/?authMechanism=MONGODB-X509&tls=true", "tlsCertificateKeyFile"),
        ("mongodb://me:tops3cret@a/?authMechanism=PLAIN", "PLAIN"),
        ("mongodb://me@a/", "no password"),
    ],
)
def test_a_uri_that_cannot_be_used_is_refused_without_its_secret(uri, says):
    with pytest.raises(ConfigurationError, match=says) as caught:
        read(uri)
    assert "tops3cret" not in str(caught.value)


@pytest.mark.parametrize("option", ["tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile"])
def test_a_file_that_is_no_certificate_is_refused(tmp_path, option):
    path = tmp_path / "junk.pem"
    path.write_text("junk")
    with pytest.raises(ConfigurationError):
        read(f"mongodb://a/?tls=true&{option}={path}")
    with pytest.raises(ConfigurationError):
        read(f"mongodb://a/?tls=true&{option}={tmp_path}/none.pem")


def test_a_password_is_not_shown():
    assert "tops3cret" not in repr(Login("me", "tops3cret", "admin"))
