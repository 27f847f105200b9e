import asyncio
import socket
from contextlib import asynccontextmanager

import bson
import pytest
from bson.timestamp import Timestamp

from mdb_engine.exceptions import (
    BSONObjectTooLargeError,
    ConfigurationError,
    InitializationError,
    OverloadedError,
    QueryValidationError,
    UpstreamError,
)
from mdb_proxy.decisions import Answer, Exchange
from mdb_proxy.upstream import ClusterFeatures, PoolSettings, open_upstream
from mdb_proxy.wire import Message, encode_message

POOL = PoolSettings(max_size=1, max_awaited=1, wait_seconds=0.02)


@asynccontextmanager
async def opened(server, options="", seconds=5.0, pool=POOL):
    """An upstream that must leave no task behind."""
    before = asyncio.all_tasks()
    uri = f"mongodb://{server.member}/{options}"
    async with open_upstream(uri, app_name="mdb", pool=pool, selection_timeout=seconds) as upstream:
        yield upstream
    assert asyncio.all_tasks() == before


def ask(command, **how):
    return Exchange(bson.encode({**command, "$db": "shop"}), **how)


def hold(peer, message):
    """Never answer."""


def test_a_command_goes_out_and_its_reply_comes_back(serving):
    async def run():
        async with serving() as server, opened(server) as upstream:
            document = bson.encode({"_id": 1})
            exchange = ask({"insert": "t"}, sections=(("documents", (document,)),))
            answer = await upstream.exchange(exchange)
            assert answer == Answer(answer.body, server.member, waited=answer.waited)
            assert bson.decode(answer.body)["ok"] == 1
            assert server.seen == [{"insert": "t", "$db": "shop", "documents": [{"_id": 1}]}]
            pinned = await upstream.exchange(ask({"getMore": 1}, pin=server.member))
            assert bson.decode(pinned.body) == bson.decode(answer.body)
            assert upstream.features == ClusterFeatures(17, standalone=True)
            assert upstream.members == (server.member,)

    asyncio.run(run())


def test_nothing_is_left_open(serving):
    async def run():
        async with serving() as server:
            async with opened(server) as upstream:
                await upstream.exchange(ask({"ping": 1}))
                await upstream.exchange(ask({"getMore": 1}, awaited=True))
            await server.until(lambda: len(server.lost) == len(server.peers))

    asyncio.run(run())


def test_the_newest_cluster_time_is_passed_on(serving):
    def tell(peer, message):
        time = bson.decode(message.body)["tell"]
        peer.reply(message, {"ok": 1, "$clusterTime": {"clusterTime": Timestamp(time, 1)}})

    async def run():
        async with serving(tell=tell) as server, opened(server) as upstream:
            for time in (5, 7, 6):
                await upstream.exchange(ask({"tell": time}))
            await upstream.exchange(ask({"ping": 1}))
        sent = [each.get("$clusterTime", {}).get("clusterTime") for each in server.seen]
        assert sent == [None, Timestamp(5, 1), Timestamp(7, 1), Timestamp(7, 1)]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("standalone", "preference", "sent"),
    [
        (False, None, None),
        (False, {"mode": "primary"}, None),
        (False, {"mode": "secondaryPreferred"}, {"mode": "secondaryPreferred"}),
        (True, {"mode": "secondaryPreferred"}, None),
    ],
)
def test_a_read_preference_is_sent_where_it_means_something(serving, standalone, preference, sent):
    async def run():
        async with serving() as server:
            if not standalone:
                server.hello |= {"setName": "rs", "hosts": [server.member], "me": server.member}
            async with opened(server) as upstream:
                await upstream.exchange(ask({"find": "t"}, read_preference=preference))
        assert server.seen[0].get("$readPreference") == sent

    asyncio.run(run())


def drop(peer, message):
    peer.transport.write(peer.encoded(message, {"ok": 1})[:20])
    peer.transport.close()


def other(peer, message):
    peer.reply(message, {"ok": 1}, response_to=message.request_id + 1)


def no_document(peer, message):
    body = b"\x07\0\0\0\x01a\0"
    peer.transport.write(encode_message(Message(1, message.request_id, 0, body)))


@pytest.mark.parametrize("misbehave", [drop, other, no_document, hold])
@pytest.mark.parametrize(
    ("fields", "labels", "times"),
    [
        ({}, (), 1),
        ({"txnNumber": 1}, ("RetryableWriteError",), 2),
        ({"txnNumber": 1, "autocommit": False}, ("TransientTransactionError",), 1),
    ],
)
def test_an_unanswered_command_is_labelled_and_its_connection_closed(
    serving, misbehave, fields, labels, times
):
    async def run():
        async with (
            serving(bad=misbehave) as server,
            opened(server, options="?socketTimeoutMS=250" if misbehave is hold else "") as upstream,
        ):
            first = bson.decode((await upstream.exchange(ask({"ping": 1}))).body)
            with pytest.raises(UpstreamError) as caught:
                await upstream.exchange(ask({"bad": 1, **fields}))
            assert (caught.value.code, caught.value.labels) == (6, labels)
            second = bson.decode((await upstream.exchange(ask({"ping": 1}))).body)
            assert second["from"] != first["from"]
            # what may have been executed is sent again only when the server knows it again
            assert sum("bad" in each for each in server.seen) == times

    asyncio.run(run())


def test_cancellation_closes_the_connection_that_was_used(serving):
    async def run():
        async with serving(slow=hold) as server, opened(server) as upstream:
            await upstream.exchange(ask({"ping": 1}))
            before = len(server.lost)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await upstream.exchange(ask({"slow": 1}))
            await server.until(lambda: len(server.lost) == before + 1)
            assert bson.decode((await upstream.exchange(ask({"ping": 1}))).body)["ok"] == 1

    asyncio.run(run())


def test_a_connection_that_went_stale_is_replaced_unseen(serving):
    async def run():
        async with serving() as server, opened(server) as upstream:
            first = bson.decode((await upstream.exchange(ask({"ping": 1}))).body)["from"]
            server.peers[first - 1].transport.close()
            await server.until(lambda: first in server.lost)
            await asyncio.sleep(0.01)
            second = bson.decode((await upstream.exchange(ask({"ping": 1}))).body)["from"]
            assert second != first

    asyncio.run(run())


def test_commands_that_wait_have_a_lane_of_their_own(serving):
    async def run():
        async with (
            serving(getMore=hold) as server,
            opened(server) as upstream,
            asyncio.TaskGroup() as group,
        ):
            waits = ask({"getMore": bson.Int64(1), "collection": "t"}, awaited=True)
            task = group.create_task(upstream.exchange(waits))
            await server.until(lambda: bool(server.seen))
            assert bson.decode((await upstream.exchange(ask({"ping": 1}))).body)["ok"] == 1
            with pytest.raises(OverloadedError):
                await upstream.exchange(waits)
            task.cancel()

    asyncio.run(run())


def test_no_member_in_time(serving):
    async def run():
        async with serving() as server:
            server.hello |= {"setName": "rs", "hosts": [server.member], "me": server.member}
            server.hello |= {"isWritablePrimary": False, "secondary": True}
            async with opened(server, "?replicaSet=rs", seconds=0.1) as upstream:
                with pytest.raises(UpstreamError, match="no suitable member") as caught:
                    await upstream.exchange(ask({"insert": "t", "txnNumber": 1}))
                assert caught.value.labels == ("RetryableWriteError",)
                with pytest.raises(UpstreamError):
                    await upstream.exchange(ask({"getMore": 1}, pin="elsewhere:1"))

    asyncio.run(run())


def test_a_message_longer_than_a_server_takes_is_not_sent(serving):
    async def run():
        async with serving() as server, opened(server) as upstream:
            exchange = ask({"insert": "t"}, sections=(("documents", (bytes(16_000_000),) * 3),))
            with pytest.raises(BSONObjectTooLargeError):
                await upstream.exchange(exchange)
            with pytest.raises(QueryValidationError):
                await upstream.exchange(ask({"find": "t"}, read_preference={"mode": "x"}))
            assert server.seen == []

    asyncio.run(run())


def test_check_connects_once(serving):
    async def run():
        async with serving() as server, opened(server) as upstream:
            await upstream.check()
            await upstream.exchange(ask({"ping": 1}))
            assert len(server.peers) == 2  # the monitor's and ours

    asyncio.run(run())


def test_check_names_a_member_that_is_too_old(serving):
    async def run():
        async with serving() as server:
            server.hello["maxWireVersion"] = 13
            async with opened(server) as upstream:
                with pytest.raises(InitializationError, match=r"runs MongoDB 5\.0"):
                    await upstream.check()

    asyncio.run(run())


def test_check_tells_of_a_refused_handshake(serving):
    def hello(peer, message):
        command = bson.decode(message.body)
        ours = command.get("client", {}).get("driver", {}).get("name") == "mdb-proxy"
        peer.reply(message, {"ok": 0} if ours else peer.server.hello)

    async def run():
        async with serving(hello=hello) as server, opened(server) as upstream:
            with pytest.raises(InitializationError, match="refused the handshake"):
                await upstream.check()

    asyncio.run(run())


def test_check_tells_of_silence():
    async def run():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            member = f"127.0.0.1:{free.getsockname()[1]}"
            uri = f"mongodb://me:tops3cret@{member}/"
            async with open_upstream(
                uri, app_name="mdb", pool=POOL, selection_timeout=0.1
            ) as upstream:
                with pytest.raises(InitializationError, match=r"answered in 0\.1 s") as caught:
                    await upstream.check()
        assert member in str(caught.value)
        assert "tops3cret" not in str(caught.value)
        assert "Timeout" not in str(caught.value)

    asyncio.run(run())


@pytest.mark.parametrize("uri", ["nonsense", "mongodb://a/?authMechanism=SCRAM-SHA-256"])
def test_a_uri_that_is_not_usable(uri):
    async def run():
        async with open_upstream(uri, app_name="mdb", pool=POOL, selection_timeout=1):
            pytest.fail("opened")

    with pytest.raises(ConfigurationError):
        asyncio.run(run())


NOT_PRIMARY = {"ok": 0.0, "code": 10107, "errmsg": "not primary"}
INTERRUPTED = {"ok": 0.0, "code": 11602, "errmsg": "operation was interrupted"}
UNWRITTEN = {"ok": 1.0, "n": 0, "writeErrors": [{"index": 0, "code": 189, "errmsg": "Not primary"}]}
UNCONFIRMED = {"ok": 1.0, "n": 1, "writeConcernError": {"code": 189, "errmsg": "stepped down"}}


def at_first(error, times=1):
    """Answer so many commands with an error, then well; tell what came."""
    bodies = []

    def handler(peer, message):
        bodies.append((message.body, message.sections))
        failing = len(bodies) <= times
        peer.reply(message, error if failing else {"ok": 1, "n": 1})

    return handler, bodies


@pytest.mark.parametrize(
    ("error", "fields", "hidden"),
    [
        (NOT_PRIMARY, {}, True),
        (NOT_PRIMARY, {"txnNumber": 1}, True),
        (NOT_PRIMARY, {"txnNumber": 1, "autocommit": False}, False),
        (INTERRUPTED, {}, False),
        (INTERRUPTED, {"txnNumber": 1}, True),
        (INTERRUPTED, {"txnNumber": 1, "autocommit": False}, False),
        (UNWRITTEN, {}, True),
        (UNCONFIRMED, {}, False),
        (UNCONFIRMED, {"txnNumber": 1}, True),
    ],
)
def test_an_election_is_hidden_where_that_is_safe(serving, error, fields, hidden):
    async def run():
        handler, bodies = at_first(error)
        async with (
            serving(insert=handler) as server,
            opened(server, "?heartbeatFrequencyMS=500") as upstream,
        ):
            exchange = ask({"insert": "t", **fields}, sections=(("documents", (bson.encode({}),)),))
            reply = bson.decode((await upstream.exchange(exchange)).body)
            assert reply == ({"ok": 1, "n": 1} if hidden else error)
            assert len(bodies) == (2 if hidden else 1)
            # the very same bytes each time
            assert all(each == bodies[0] for each in bodies)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("command", "times"), [({"find": "t"}, 2), ({"count": "t"}, 2), ({"getMore": 1}, 1)]
)
def test_a_read_is_repeated_once_when_its_connection_breaks(serving, command, times):
    async def run():
        seen = []

        def once(peer, message):
            seen.append(message.body)
            if len(seen) == 1:
                drop(peer, message)
            else:
                peer.reply(message, {"ok": 1})

        async with serving(**{next(iter(command)): once}) as server, opened(server) as upstream:
            exchange = ask(command, pin=server.member)
            if times == 1:
                with pytest.raises(UpstreamError, match="broke"):
                    await upstream.exchange(exchange)
            else:
                assert bson.decode((await upstream.exchange(exchange)).body) == {"ok": 1}
            assert len(seen) == times

    asyncio.run(run())


@pytest.mark.parametrize("time_ms", [None, 300, 60_000])
def test_after_the_time_the_first_error_is_told(serving, time_ms):
    async def run():
        handler, bodies = at_first({**NOT_PRIMARY, "errorLabels": ["x"]}, times=1_000)
        async with serving(insert=handler) as server, opened(server, seconds=0.6) as upstream:
            loop = asyncio.get_running_loop()
            await upstream.exchange(ask({"ping": 1}))
            began = loop.time()
            answer = await upstream.exchange(ask({"insert": "t"}, time_ms=time_ms))
            assert bson.decode(answer.body) == {**NOT_PRIMARY, "errorLabels": ["x"]}
            assert loop.time() - began < (0.55 if time_ms == 300 else 3)
            assert bodies

    asyncio.run(run())


def test_what_may_have_been_done_is_not_told_as_refused(serving):
    async def run():
        seen = []

        def script(peer, message):
            seen.append(message.body)
            if len(seen) == 1:
                peer.reply(message, NOT_PRIMARY)
            else:
                drop(peer, message)

        async with serving(insert=script) as server, opened(server) as upstream:
            with pytest.raises(UpstreamError, match="broke"):
                await upstream.exchange(ask({"insert": "t"}))
            assert len(seen) == 2

    asyncio.run(run())


def test_a_command_waits_for_a_member_that_is_not_there_yet(serving):
    async def run():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        async with asyncio.TaskGroup() as group:
            uri = f"mongodb://127.0.0.1:{port}/?heartbeatFrequencyMS=500"
            async with open_upstream(
                uri, app_name="mdb", pool=POOL, selection_timeout=10
            ) as upstream:
                task = group.create_task(upstream.exchange(ask({"insert": "t"})))
                first = group.create_task(
                    upstream.exchange(ask({"insert": "t", "txnNumber": 1, "autocommit": False}))
                )
                await asyncio.sleep(0.1)
                async with serving(port=port):
                    assert bson.decode((await task).body)["ok"] == 1
                    assert bson.decode((await first).body)["ok"] == 1

    asyncio.run(run())


@pytest.mark.parametrize("answered", [True, False])
def test_a_wait_for_news_that_is_given_up_is_ended(serving, answered):
    def kill(peer, message):
        if answered:
            peer.reply(message, {"ok": 1})
        else:
            peer.transport.abort()

    async def run():
        async with (
            serving(getMore=hold, killCursors=kill) as server,
            opened(server) as upstream,
            asyncio.TaskGroup() as group,
        ):
            command = {"getMore": bson.Int64(7), "collection": "t"}
            waits = ask(command, awaited=True, pin=server.member)
            task = group.create_task(upstream.exchange(waits))
            await server.until(lambda: bool(server.seen))
            task.cancel()
            await server.until(lambda: len(server.seen) == 2)
            assert server.seen[1] == {"killCursors": "t", "cursors": [7], "$db": "shop"}
        assert task.cancelled()

    asyncio.run(run())


def test_a_member_that_falls_silent_is_not_waited_for(serving):
    async def run():
        def hang(peer, message):
            peer.server.hung = True

        async with (
            serving(insert=hang) as server,
            opened(server, "?connectTimeoutMS=200&heartbeatFrequencyMS=500") as upstream,
        ):
            with pytest.raises(UpstreamError, match="broke"):
                async with asyncio.timeout(10):
                    await upstream.exchange(ask({"insert": "t"}))

    asyncio.run(run())
