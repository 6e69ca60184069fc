"""The benchmark as people run it, with tiny counts: what it prints, never how long something took."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.lines import Line, missed
from benchmarks.loads import CONNECTIONS, Ask, shares, warm_up
from benchmarks.rates import measure_rates
from benchmarks.reports import Report
from benchmarks.run import main
from benchmarks.spreads import at_least, at_most, spread, take_turns

from .races.needs import need_program
from .raw_server import Peer, RawServer

CHECKOUT = Path(__file__).parent.parent
TINY = ("refresh", "--sessions", "1", "--parallel", "4", "--rounds", "5")
PROXY = ("proxy", "--rounds", "1", "--seconds", "1", "--size-mb", "1", "--json")
PAGE = ("page", "--rounds", "1", "--calls", "1", "--load-rounds", "1", "--seconds", "1", "--json")
MACHINE = {
    *("cores", "load", "flask", "werkzeug", "gunicorn", "gevent", "granian", "requests"),
    *("redis-py", "redis-server", "nginx", "wrk", "sqlite"),
}
OURS, SNIPPET, SESSION, HELLO, NGINX = (
    "this proxy",
    "requests.request()",
    "requests.Session",
    "Flask, no upstream",
    "nginx proxy_pass",
)


def run(*arguments: str, **environ: str) -> str:
    """What it printed; it ended well, and so did everything that it started."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=CHECKOUT,
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        output, errors = process.communicate()
    assert (process.returncode, errors) == (0, ""), output + errors
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return output


def figures(*arguments: str, **environ: str) -> dict[str, dict[str, Any]]:
    """What it measured; every answer was right."""
    report = json.loads(run("-m", "benchmarks.run", *arguments, **environ))
    assert report["broken"] == []
    assert report["machine"].keys() > MACHINE
    found: dict[str, dict[str, Any]] = report["figures"]
    return found


def assert_spread(spread: dict[str, float]) -> None:
    assert spread.keys() == {"median", "least", "most"}
    assert spread["least"] <= spread["median"] <= spread["most"]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_it_prints_one_table_with_a_column_for_each_store() -> None:
    need_program("redis-server")
    head, title, *rest = run("-m", "benchmarks.run", *TINY).splitlines()
    columns, _, *rows = [cells(line) for line in rest if line.startswith("|")]
    table = {row[0]: row[1:] for row in rows}
    assert all(f"{fact} " in head for fact in MACHINE)
    assert title.startswith("refresh: 1 sessions for each store, 4 requests at once")
    assert columns == ["store", "memory", "sqlite", "redis"]
    assert table["workers x threads"] == ["1 x 16", "4 x 8", "4 x 8"]
    assert table["refresh calls per expiry, mean (most)"] == ["1.00 (1)"] * 3
    assert table["lost sessions"] == table["reuse events"] == ["0"] * 3
    for name in ("get", "put_if_absent", "delete_if_equal"):
        assert all(float(cell) > 0 for cell in table[f"{name}, us"])


def test_without_a_redis_server_it_says_so_and_goes_on(tmp_path: Path) -> None:
    report = json.loads(run("benchmarks/run.py", *TINY, "--json", PATH=str(tmp_path)))
    assert report["machine"].keys() > MACHINE
    assert report["machine"]["redis-server"] == "missing"
    assert report["figures"].keys() == {"memory", "sqlite"}
    assert "redis: skipped, redis-server is not installed." in report["notes"]
    assert report["broken"] == []
    for figures in report["figures"].values():
        assert figures["storms"]["refreshes"] == 1
        assert figures["storms"]["lost_sessions"] == figures["storms"]["bad_answers"] == 0
        assert figures["storms"].keys() >= {
            "lone",
            "living",
            "added",
            "added_p95",
            "added_ratio",
            "added_p95_ratio",
        }
        assert figures["operations"].keys() == {"get", "put_if_absent", "delete_if_equal"}


def test_the_proxy_is_compared_with_what_people_copy_and_with_nginx() -> None:
    installed = {NGINX} if shutil.which("nginx") else set()
    found = figures(*PROXY, "--only", "1kb,big", "--servers", "gthread")
    assert {measure: set(variants) for measure, variants in found.items()} == {
        "1kb GET, gthread, requests/s": {OURS, SNIPPET, SESSION, HELLO} | installed,
        "1 MB down, gthread, MB/s": {OURS, SNIPPET} | installed,
        "1 MB down, gthread, peak memory added, MB": {OURS, SNIPPET},
        "1 MB up, gthread, MB/s": {OURS, SNIPPET} | installed,
        "1 MB up, gthread, peak memory added, MB": {OURS, SNIPPET},
    }
    for name, figure in found["1kb GET, gthread, requests/s"].items():
        assert_spread(figure["value"])
        assert figure["value"]["least"] > 0
        assert (figure["ratio"] is None) == (name == OURS)
        assert (figure["wanted"] is None) == (name not in (SNIPPET, HELLO))


def test_without_nginx_and_wrk_the_proxy_is_measured_all_the_same(tmp_path: Path) -> None:
    found = figures(*PROXY, "--only", "1kb,sse", "--servers", "gevent", PATH=str(tmp_path))
    assert found.keys() == {"1kb GET, gevent, requests/s", "events, gevent, ms"}
    assert found["1kb GET, gevent, requests/s"].keys() == {OURS, SNIPPET, SESSION, HELLO}
    for figure in found["events, gevent, ms"].values():
        assert_spread(figure["value"])


def test_the_page_is_compared_with_bare_flask() -> None:
    found = figures(*PAGE, "--servers", "granian")
    assert found.keys() == {"CPU us per request", "granian, requests/s"}
    assert found["granian, requests/s"].keys() == {"bare Flask", "gated page"}
    in_process = found["CPU us per request"]
    assert in_process.keys() > {"bare Flask", "untouched view", "gated view, cached validation"}
    for name, figure in in_process.items():
        assert_spread(figure["value"])
        assert (figure["ratio"] is None) == (figure["added"] is None) == (name == "bare Flask")


def test_a_missed_wish_is_told_and_breaks_nothing() -> None:
    slow, fast = spread([1.0, 2.0, 9.0]), spread([4.0])
    ratios = [
        Line(measure="GET", variant="it", value=slow, ratio=found, wish=at_least(2.2))
        for found in (slow, fast)
    ]
    growth = Line(measure="memory", variant="ours", value=fast, wish=at_most(3))
    assert ratios[0].cells() == ["GET", "it", "2 [1..9]", "2.00 [1.00..9.00]", "", ">= 2.2, is 2.00"]
    assert missed([*ratios, growth]) == [
        "missed: GET, it: >= 2.2, is 2.00",
        "missed: memory, ours: <= 3, is 4.00",
    ]


def test_variants_take_turns_and_each_of_them_goes_first() -> None:
    calls: list[str] = []
    variants = {name: partial(calls.append, name) for name in "abc"}
    assert take_turns(variants, 3) == {name: [None] * 3 for name in "abc"}
    assert calls == [*"abc", *"bca", *"cab"]


def test_error_pages_are_not_measured() -> None:
    def refuse(peer: Peer) -> None:
        while peer.request():
            peer.answer(b"the body", status=b"500 Oops")

    with RawServer(refuse) as server:
        ask = Ask(int(server.url.rpartition(":")[2]), "/", {})
        rates = measure_rates("GET", {"it": ask}, b"the body", rounds=1, seconds=1)
        assert warm_up(ask).faults
    assert (rates.values, rates.broken) == ({}, ["GET: it gives the right answer"])


def test_one_worker_at_a_time_accepts_its_share() -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(subprocess.Popen(["sleep", "60"])) for _ in range(2)]
        for worker in workers:
            stack.callback(worker.kill)
        ids = [worker.pid for worker in workers]
        seen = [(count, [stands_still(pid) for pid in ids]) for count in shares(Ask(1, "/", {}, ids))]
        assert not any(map(stands_still, ids))
    assert seen == [(CONNECTIONS // 2, [False, True]), (CONNECTIONS // 2, [True, False])]


def stands_still(process_id: int) -> bool:
    stat = Path(f"/proc/{process_id}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


def test_a_broken_promise_is_the_last_line() -> None:
    report = Report(
        title="title",
        columns=["store", "memory"],
        rows=[["lost sessions", "2"]],
        notes=["a note"],
        broken=["memory: no lost session"],
        figures={"memory": {"lost_sessions": 2}},
    )
    assert report.to_text({"cores": "2"}).splitlines() == [
        "cores 2",
        "title",
        "",
        "| store         | memory |",
        "| ------------- | ------ |",
        "| lost sessions | 2      |",
        "",
        "a note",
        "BROKEN: memory: no lost session",
    ]
    assert json.loads(report.to_json({"cores": "2"}))["broken"] == ["memory: no lost session"]


@pytest.mark.parametrize("wrong", ["1kb,2kb", "all", ""])
def test_unknown_parts_are_refused(capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["proxy", "--only", wrong])
    assert "is none of 1kb, 100kb, big, sse" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [("--sessions", "0"), ("--parallel", "1"), ("--rounds", "4"), ("--rounds", "x")]
)
def test_counts_that_measure_nothing_are_refused(
    capsys: pytest.CaptureFixture[str], wrong: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["refresh", *wrong])
    assert f"argument {wrong[0]}: {wrong[1]!r} is not a whole number of" in capsys.readouterr().err
