import asyncio
import hashlib
from dataclasses import replace

import bson
import pytest
from scramp import ScramMechanism

from mdb_engine.credentials import Credential, ScramKeys, derive
from mdb_engine.exceptions import AuthenticationFailedError, UpstreamError
from mdb_proxy.auth.scram import ScramConversation
from mdb_proxy.upstream.handshake import connect
from mdb_proxy.upstream.target import Login, Target
from tests.support.talks import gate


def sha_1_keys(password):
    digest = hashlib.md5(f"me:mongo:{password}".encode(), usedforsecurity=False).hexdigest()
    salt, stored, server, count = ScramMechanism("SCRAM-SHA-1").make_auth_info(
        digest, 4096, b"s" * 16
    )
    return ScramKeys(salt, count, stored, server)


KEYS = {"SCRAM-SHA-256": derive("pw", b"s" * 28, 4096), "SCRAM-SHA-1": sha_1_keys("pw")}
ME = Credential("me", "shop", "readWrite", KEYS)
TARGET = Target(("x",), login=Login("me", "pw", "admin"), connect_seconds=5)


class Sasl:
    """The server's side of a login, by our own conversations."""

    def __init__(self, last_step=b"", skip=True):
        self.mechanisms, self.skip, self.last_step = [], skip, last_step

    def start(self, peer, message):
        command = bson.decode(message.body)
        self.mechanisms.append(command["mechanism"])
        self.conversation = ScramConversation(command["mechanism"], gate({"me": ME}))
        self.go_on(peer, message)

    def go_on(self, peer, message):
        payload = bson.decode(message.body)["payload"]
        if not payload:
            peer.reply(message, {"ok": 1, "done": True, "payload": b""})
            return
        try:
            step = self.conversation.step(payload)
        except AuthenticationFailedError:
            peer.reply(message, {"ok": 0, "code": 18, "errmsg": "Authentication failed."})
            return
        payload = self.last_step if step.done and self.last_step else step.payload
        done = step.done and self.skip
        peer.reply(message, {"ok": 1, "conversationId": 1, "done": done, "payload": payload})

    @property
    def script(self):
        return {"saslStart": self.start, "saslContinue": self.go_on}


@pytest.mark.parametrize(
    ("mechanism", "offered", "used"),
    [
        (None, None, "SCRAM-SHA-256"),
        (None, ["SCRAM-SHA-1", "SCRAM-SHA-256"], "SCRAM-SHA-256"),
        (None, ["SCRAM-SHA-1"], "SCRAM-SHA-1"),
        ("SCRAM-SHA-1", None, "SCRAM-SHA-1"),
        ("SCRAM-SHA-256", None, "SCRAM-SHA-256"),
    ],
)
@pytest.mark.parametrize("skip", [True, False])
def test_a_login_by_scram(serving, mechanism, offered, used, skip):
    async def run():
        sasl = Sasl(skip=skip)
        target = replace(TARGET, login=Login("me", "pw", "users", mechanism))
        async with serving(**sasl.script) as server:
            if offered is not None:
                server.hello["saslSupportedMechs"] = offered
            connection = await connect(("127.0.0.1", server.port), target, "mdb")
            assert connection.usable
            assert sasl.mechanisms == [used]
            assert {each["$db"] for each in server.seen} == {"users"}
            connection.abort()
            await connection.gone

    asyncio.run(run())


def test_hello_carries_our_metadata_and_asks_for_mechanisms(serving):
    async def run():
        asked = []

        def hello(peer, message):
            asked.append(bson.decode(message.body))
            peer.reply(message, {"ok": 1})

        async with serving(hello=hello) as server:
            address = ("127.0.0.1", server.port)
            with pytest.raises(UpstreamError):
                await connect(address, TARGET, "mdb")
            connection = await connect(address, replace(TARGET, login=None), "mdb")
            connection.abort()
            await connection.gone
        assert [each.get("saslSupportedMechs") for each in asked] == ["admin.me", None]
        assert asked[0]["client"]["application"] == {"name": "mdb"}
        assert asked[0]["client"]["driver"]["name"] == "mdb-proxy"
        assert set(asked[0]["client"]["os"]) == {"type"}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("login", "sasl"),
    [
        (Login("me", "wrong-pw", "admin"), Sasl()),
        (Login("nobody", "wrong-pw", "admin"), Sasl()),
        (Login("me", "pw", "admin"), Sasl(last_step=b"v=AAAA")),
        (Login("me", "pw", "admin"), Sasl(last_step=b"\xff")),
        (Login("me", "wrong-pw\x07", "admin"), Sasl()),
    ],
)
def test_a_login_that_fails_closes_the_connection(serving, login, sasl):
    async def run():
        async with serving(**sasl.script) as server:
            with pytest.raises(UpstreamError, match="refused the login of user") as caught:
                await connect(("127.0.0.1", server.port), replace(TARGET, login=login), "mdb")
            assert "wrong-pw" not in str(caught.value)
            await server.until(lambda: server.lost == [1])

    asyncio.run(run())


def never_done(peer, message):
    payload = bson.decode(message.body)["payload"]
    if payload:
        Never.sasl.go_on(peer, message)
    else:
        peer.reply(message, {"ok": 1, "done": False, "payload": b""})


class Never:
    sasl = Sasl(skip=False)


def test_a_login_that_never_ends_is_refused(serving):
    async def run():
        async with serving(saslStart=Never.sasl.start, saslContinue=never_done) as server:
            with pytest.raises(UpstreamError, match="refused the login"):
                await connect(("127.0.0.1", server.port), TARGET, "mdb")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("hello", "says", "seconds"),
    [
        (lambda peer, message: peer.reply(message, {"ok": 0}), "refused the handshake", 5),
        (lambda peer, message: peer.transport.abort(), "cannot connect to 127.0.0.1:", 5),
        (lambda peer, message: peer.transport.write(b"HTTP/1.1 400 \r\n"), "cannot connect", 5),
        (lambda peer, message: None, "no answer in time", 0.05),
    ],
)
def test_a_member_that_does_not_greet_us(serving, hello, says, seconds):
    async def run():
        async with serving(hello=hello) as server:
            target = replace(TARGET, connect_seconds=seconds)
            with pytest.raises(UpstreamError, match=says):
                await connect(("127.0.0.1", server.port), target, "mdb")
            await server.until(lambda: server.lost == [1])

    asyncio.run(run())


def test_nobody_there(serving):
    async def run():
        async with serving() as server:
            port = server.port
        with pytest.raises(UpstreamError, match=rf"cannot connect to 127\.0\.0\.1:{port}"):
            await connect(("127.0.0.1", port), TARGET, "mdb")

    asyncio.run(run())


@pytest.mark.parametrize("name", ["", "CN=me,O=ours"])
def test_a_login_by_certificate(serving, name):
    async def run():
        def authenticate(peer, message):
            peer.reply(message, {"ok": 1})

        login = Login(name, "", "$external", "MONGODB-X509")
        async with serving(authenticate=authenticate) as server:
            target = replace(TARGET, login=login)
            connection = await connect(("127.0.0.1", server.port), target, "mdb")
            assert connection.usable
            user = {"user": name} if name else {}
            assert server.seen == [
                {"authenticate": 1, "mechanism": "MONGODB-X509", "$db": "$external", **user}
            ]
            connection.abort()
            await connection.gone

    asyncio.run(run())


def test_a_certificate_that_is_refused(serving):
    async def run():
        def authenticate(peer, message):
            peer.reply(message, {"ok": 0, "code": 18})

        target = replace(TARGET, login=Login("", "", "$external", "MONGODB-X509"))
        async with serving(authenticate=authenticate) as server:
            with pytest.raises(UpstreamError, match="refused the login by our certificate"):
                await connect(("127.0.0.1", server.port), target, "mdb")
            await server.until(lambda: server.lost == [1])

    asyncio.run(run())
