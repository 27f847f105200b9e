import asyncio
import struct

import bson
import pytest

from mdb_proxy.upstream.connection import Connection
from mdb_proxy.wire import WireError, encode_reply

PING = bson.encode({"ping": 1, "$db": "admin"})


def wrong_response_to(peer, message):
    peer.reply(message, {"ok": 1}, response_to=message.request_id + 1)


def cut_in_the_middle(peer, message):
    peer.transport.write(peer.encoded(message, {"ok": 1, "secret": "x" * 100})[:50])
    peer.transport.close()


def cut_before_the_reply(peer, message):
    peer.transport.close()


def reset(peer, message):
    peer.transport.abort()


def no_length(peer, message):
    peer.transport.write(struct.pack("<i", 3))


def other_opcode(peer, message):
    peer.transport.write(encode_reply(bson.encode({"ok": 1}), message.request_id, 1))


def damaged(peer, message):
    peer.transport.write(peer.encoded(message, {"ok": 1})[:-6] + b"\xff" * 6)
    peer.transport.write(struct.pack("<iiiiI", 20, 1, message.request_id, 2013, 0))


def no_body(peer, message):
    peer.transport.write(struct.pack("<iiiiI", 20, 1, message.request_id, 2013, 0))


def more_to_come(peer, message):
    peer.reply(message, {"ok": 1}, flags=2)


@pytest.mark.parametrize(
    "misbehave",
    [
        wrong_response_to,
        cut_in_the_middle,
        cut_before_the_reply,
        reset,
        no_length,
        other_opcode,
        no_body,
        more_to_come,
    ],
)
def test_whatever_goes_wrong_the_connection_is_closed_for_good(serving, dial, misbehave):
    async def run():
        async with serving(ping=misbehave) as server:
            connection = await dial(server)
            with pytest.raises((OSError, WireError)):
                await connection.exchange(PING)
            assert not connection.usable
            with pytest.raises(OSError, match="closed"):
                await connection.exchange(PING)
            await connection.gone
            assert len(server.seen) == 1

    asyncio.run(run())


def test_a_reply_belongs_to_its_request(serving, dial):
    async def run():
        async with serving() as server:
            connection = await dial(server)
            for number in range(3):
                documents = (bson.encode({"_id": number}),)
                reply = await connection.exchange(PING, (("documents", documents),))
                assert bson.decode(reply) == {"ok": 1, "from": 1}
                assert server.seen[number]["documents"] == [{"_id": number}]
            assert connection.usable
            connection.close()
            await connection.gone
            assert not connection.usable

    asyncio.run(run())


def test_a_command_of_our_own_is_encoded_and_read(serving, dial):
    async def run():
        async with serving() as server:
            connection = await dial(server)
            reply = await connection.command({"ping": 1, "$db": "admin"})
            assert dict(reply) == {"ok": 1, "from": 1}
            connection.abort()
            await connection.gone

    asyncio.run(run())


def test_a_cancelled_exchange_closes_the_connection_at_once(serving, dial):
    async def run():
        held = []
        async with serving(slow=lambda peer, message: held.append((peer, message))) as server:
            connection = await dial(server)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await connection.exchange(bson.encode({"slow": 1}))
            assert not connection.usable
            await server.until(lambda: server.lost == [1] and len(held) == 1)

    asyncio.run(run())


def test_a_late_reply_of_a_cancelled_exchange_reaches_nobody(serving, dial):
    async def run():
        async with serving(slow=lambda peer, message: None) as server:
            connection = await dial(server)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(connection.exchange(bson.encode({"slow": 1})))
                await server.until(lambda: bool(server.seen))
                task.cancel()
            with pytest.raises(OSError, match="closed"):
                await connection.exchange(PING)
            assert [next(iter(each)) for each in server.seen] == ["slow"]
            await connection.gone

    asyncio.run(run())


def test_a_reply_that_comes_with_the_cancellation_still_closes(serving, dial):
    async def run():
        async with serving(slow=lambda peer, message: None) as server:
            connection = await dial(server)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(connection.exchange(bson.encode({"slow": 1})))
                await server.until(lambda: bool(server.seen))
                # both in one round of the loop: first the cancellation, then the bytes
                task.cancel()
                request = connection._request_id
                peer, message = server.peers[0], type("M", (), {"request_id": request})
                connection.data_received(peer.encoded(message, {"ok": 1}))
            assert not connection.usable
            await connection.gone

    asyncio.run(run())


def test_a_piece_of_a_reply_waits_for_the_rest(serving, dial):
    def slowly(peer, message):
        reply = peer.encoded(message, {"ok": 1, "long": "x" * 1000})
        peer.transport.write(reply[:3])
        asyncio.get_running_loop().call_later(0.01, peer.transport.write, reply[3:])

    async def run():
        async with serving(ping=slowly) as server:
            connection = await dial(server)
            assert len(bson.decode(await connection.exchange(PING))["long"]) == 1000
            connection.close()
            await connection.gone

    asyncio.run(run())


@pytest.mark.parametrize("size", [None, 5])
def test_bytes_behind_the_reply_close_the_connection(serving, dial, size):
    def twice(peer, message):
        reply = peer.encoded(message, {"ok": 1})
        peer.transport.write(reply + reply[:size])

    async def run():
        async with serving(ping=twice) as server:
            connection = await dial(server)
            assert bson.decode(await connection.exchange(PING)) == {"ok": 1}
            assert not connection.usable
            connection.abort()
            await connection.gone

    asyncio.run(run())


def test_a_message_that_nobody_asked_for_closes_an_idle_connection(serving, dial):
    async def run():
        async with serving() as server:
            connection = await dial(server)
            await connection.exchange(PING)
            peer = server.peers[0]
            peer.transport.write(encode_reply(bson.encode({}), 1, 1))
            await connection.gone
            assert not connection.usable

    asyncio.run(run())


def test_one_request_at_a_time(serving, dial):
    async def run():
        async with serving(slow=lambda peer, message: None) as server:
            connection = await dial(server)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(connection.exchange(bson.encode({"slow": 1})))
                await server.until(lambda: bool(server.seen))
                with pytest.raises(OSError, match="closed"):
                    await connection.exchange(PING)
                task.cancel()
            await connection.gone

    asyncio.run(run())


def test_a_connection_that_was_never_made_is_not_usable():
    async def run():
        connection = Connection("nowhere:1")
        connection.close()
        connection.abort()
        assert not connection.usable

    asyncio.run(run())
