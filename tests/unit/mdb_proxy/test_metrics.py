"""Numbers, and labels that no client can make up."""

from functools import partial

from mdb_proxy.decisions import Backend
from mdb_proxy.metrics import ERROR, FAILED, OK, REASONS, Metrics, Reloads


def lines(metrics: Metrics) -> dict[str, float]:
    """The page as numbers by name and labels."""
    text = metrics.page().decode()
    pairs = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in pairs if "_created" not in name}


def test_commands_are_counted() -> None:
    metrics = Metrics(["shop"])
    for outcome, seconds in ((OK, 0.002), (OK, 0.2), (ERROR, 99)):
        metrics.command("shop", "find", outcome, seconds)
    metrics.command("shop", "findandmodify", OK, 0)
    found = lines(metrics)
    assert found['mdb_proxy_commands_total{app="shop",command="find",outcome="ok"}'] == 2
    assert found['mdb_proxy_commands_total{app="shop",command="find",outcome="error"}'] == 1
    assert found['mdb_proxy_commands_total{app="shop",command="findandmodify",outcome="ok"}'] == 1
    duration = "mdb_proxy_command_duration_seconds"
    assert found[f'{duration}_count{{app="shop",command="find"}}'] == 3
    assert found[f'{duration}_bucket{{app="shop",command="find",le="0.0025"}}'] == 1
    assert found[f'{duration}_bucket{{app="shop",command="find",le="30.0"}}'] == 2
    buckets = [name for name in found if "_bucket" in name and 'command="find"' in name]
    assert len(buckets) == 15


def test_a_member_that_has_left() -> None:
    metrics, members = Metrics(), {"m:1": Backend(True, 2, 3)}
    metrics.watch_backends(lambda: members)
    assert lines(metrics)['mdb_proxy_backend_up{backend="m:1"}'] == 1
    members.clear()
    assert lines(metrics)['mdb_proxy_backend_up{backend="m:1"}'] == 0


def test_the_share_of_the_cluster() -> None:
    metrics = Metrics(["shop"])
    for name in ("find", "find", "nonsense"):
        metrics.answered(name, 0.01)
    found, counts = lines(metrics), "mdb_proxy_backend_duration_seconds_count"
    assert found[f'{counts}{{command="find"}}'] == 2
    assert found[f'{counts}{{command="other"}}'] == 1


def test_no_client_can_make_up_a_label() -> None:
    metrics = Metrics(["shop"])
    for number in range(50):
        metrics.command(f"app{number}", f"cmd{number}", OK, 0)
        metrics.refusal(f"app{number}", 100_000 + number)
        metrics.attempt(f"mechanism{number}", 100_000 + number)
    found = lines(metrics)
    assert found['mdb_proxy_commands_total{app="_unknown",command="other",outcome="ok"}'] == 50
    assert found['mdb_proxy_blocked_total{app="_unknown",reason="other"}'] == 50
    assert found['mdb_proxy_auth_attempts_total{mechanism="other",outcome="other"}'] == 50
    assert sum("{" in name and "_total" in name for name in found) == 3


def test_refusals_and_logins_by_reason() -> None:
    metrics = Metrics(["shop"])
    metrics.refusal("shop", 13)
    metrics.refusal("", 59)
    metrics.attempt("SCRAM-SHA-256", 0)
    metrics.attempt("SCRAM-SHA-256", 18)
    metrics.attempt("", 18)
    found = lines(metrics)
    assert found['mdb_proxy_blocked_total{app="shop",reason="Unauthorized"}'] == 1
    assert found['mdb_proxy_blocked_total{app="_unknown",reason="CommandNotFound"}'] == 1
    attempts = "mdb_proxy_auth_attempts_total"
    assert found[f'{attempts}{{mechanism="SCRAM-SHA-256",outcome="ok"}}'] == 1
    assert found[f'{attempts}{{mechanism="SCRAM-SHA-256",outcome="AuthenticationFailed"}}'] == 1
    assert found[f'{attempts}{{mechanism="other",outcome="AuthenticationFailed"}}'] == 1


def test_what_is_open_is_asked_when_the_page_is_read() -> None:
    numbers = {"shop": 2, "_unknown": 5}
    metrics = Metrics(["shop", "crm"])
    metrics.watch(*(partial(lambda by, app: by * numbers.get(app, 0), by) for by in (1, 10, 100)))
    numbers["crm"] = 1
    found = lines(metrics)
    assert {name: value for name, value in found.items() if "open" in name or "client" in name} == {
        'mdb_proxy_client_connections{app="_unknown"}': 5,
        'mdb_proxy_client_connections{app="crm"}': 1,
        'mdb_proxy_client_connections{app="shop"}': 2,
        'mdb_proxy_cursors_open{app="crm"}': 10,
        'mdb_proxy_cursors_open{app="shop"}': 20,
        'mdb_proxy_transactions_open{app="crm"}': 100,
        'mdb_proxy_transactions_open{app="shop"}': 200,
    }


def test_two_proxies_in_one_process_do_not_share_numbers() -> None:
    first, second = Metrics(), Metrics()
    first.attempt("x", 0)
    first.unreadable(3)
    assert set(lines(second).values()) == {0.0}


def test_what_happens_at_the_doors() -> None:
    metrics = Metrics(["shop"])
    metrics.arrived("tls://h:1", OK, 1)
    metrics.arrived("tls://h:1", "full", 1)
    metrics.inside("tls://h:1", 0)
    metrics.dropped("it says nothing")
    metrics.malformed()
    metrics.throttled()
    metrics.moved("shop", 10, 100)
    metrics.moved("?", 1, 2)
    metrics.built("1.2.3")
    metrics.watch_backends(lambda: {"m:1": Backend(True, 2, 3), "m:2": Backend(False)})
    assert {name: value for name, value in lines(metrics).items() if value} == {
        'mdb_proxy_arrivals_total{listener="tls://h:1",outcome="ok"}': 1,
        'mdb_proxy_arrivals_total{listener="tls://h:1",outcome="full"}': 1,
        'mdb_proxy_clients_dropped_total{reason="it says nothing"}': 1,
        'mdb_proxy_build_info{version="1.2.3"}': 1,
        'mdb_proxy_backend_up{backend="m:1"}': 1,
        'mdb_proxy_backend_pool_connections{backend="m:1",state="busy"}': 2,
        'mdb_proxy_backend_pool_connections{backend="m:1",state="open"}': 3,
        "mdb_proxy_decoding_errors_total": 1,
        "mdb_proxy_throttled_logins_total": 1,
        'mdb_proxy_request_bytes_total{app="shop"}': 10,
        'mdb_proxy_request_bytes_total{app="_unknown"}': 1,
        'mdb_proxy_response_bytes_total{app="shop"}': 100,
        'mdb_proxy_response_bytes_total{app="_unknown"}': 2,
    }


def test_every_refusal_has_a_reason() -> None:
    assert REASONS[2] == "BadValue"
    assert REASONS[462] == "IngressRequestRateLimitExceeded"


def test_apps_that_come_later_have_labels_too() -> None:
    metrics = Metrics(["shop"])
    metrics.know(["crm"])
    metrics.know(["crm"])
    for app in ("shop", "crm", "other"):
        metrics.command(app, "find", OK, 0)
    found = lines(metrics)
    for app in ("shop", "crm", "_unknown"):
        assert found[f'mdb_proxy_commands_total{{app="{app}",command="find",outcome="ok"}}'] == 1


def test_reloads() -> None:
    metrics = Metrics()
    reloads = Reloads(metrics.registry, 5.0)
    last = "mdb_proxy_manifest_last_reload_timestamp_seconds"
    assert lines(metrics)[last] == 5.0
    reloads.note(FAILED, 6.0)
    assert lines(metrics)[last] == 5.0
    reloads.note(OK, 7.0)
    reloads.note(OK, 8.0)
    found = lines(metrics)
    assert found[last] == 8.0
    assert found['mdb_proxy_manifest_reloads_total{outcome="ok"}'] == 2
    assert found['mdb_proxy_manifest_reloads_total{outcome="failed"}'] == 1


def test_what_the_cluster_and_what_we_take() -> None:
    metrics = Metrics(["shop"])
    metrics.answered("find", 0.2, 0.1)
    metrics.own(0.002)
    metrics.own(-0.1)
    metrics.limited("shop", ("max_results", "max_time_ms"))
    metrics.returned("shop", 101)
    found = lines(metrics)
    assert found["mdb_proxy_backend_pool_wait_seconds_sum"] == 0.1
    assert found["mdb_proxy_overhead_seconds_count"] == 2
    assert found["mdb_proxy_overhead_seconds_sum"] == 0.002
    assert found['mdb_proxy_limited_total{app="shop",limit="max_results"}'] == 1
    assert found['mdb_proxy_returned_documents_sum{app="shop"}'] == 101
    assert found['mdb_proxy_returned_documents_bucket{app="shop",le="100.0"}'] == 0
