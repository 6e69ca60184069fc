"""The benchmark as people run it, with tiny counts: what it prints, never how long something took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.reports import Report
from benchmarks.run import main

from .races.needs import need_program

CHECKOUT = Path(__file__).parent.parent
TINY = ("refresh", "--sessions", "1", "--parallel", "4", "--rounds", "5")
MACHINE = {"cores", "load", "flask", "werkzeug", "gunicorn", "redis-py", "redis-server", "sqlite"}


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


@pytest.mark.parametrize(
    "wrong", [("--sessions", "0"), ("--parallel", "1"), ("--rounds", "4"), ("--rounds", "x")]
)
def test_counts_that_measure_nothing_are_refused(
    capsys: pytest.CaptureFixture[str], wrong: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["refresh", *wrong])
    assert f"argument {wrong[0]}: {wrong[1]!r} is not a whole number of" in capsys.readouterr().err
