"""What people install: built from a clean copy, put into an environment of its own, run without the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from .processes import ROOT, ShopBackend
from .quickstart import Form, clean_environ, new_browser, running_quick_start

PACKAGE = "flask_api_layer"
NOT_CLONED = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "instance", "*.sqlite3*"
)


@dataclass(frozen=True, slots=True)
class Built:
    """The distributions, and the clean copy of the checkout that they were made of."""

    source: Path
    sdist: Path
    wheel: Path

    def package_files(self) -> set[str]:
        return {
            str(file.relative_to(self.source))
            for file in (self.source / PACKAGE).rglob("*")
            if file.is_file() and file.suffix != ".pyc"
        }


def run(*command: str | Path, folder: Path, python: Path = Path(sys.executable)) -> str:
    """What the command printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean_environ(python),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An sdist and the wheel made of it, without a network."""
    folder = tmp_path_factory.mktemp("build")
    source, dist = folder / "source", folder / "dist"
    shutil.copytree(ROOT, source, ignore=NOT_CLONED)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, source, folder=folder)
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    return Built(source, sdist, wheel)


@pytest.fixture(scope="module")
def python(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel; what it depends on is taken from the environment of the tests."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python))
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", built.wheel, folder=home)
    # Afterwards, so that pip sees no other flask-api-layer; and .pth files in there, such as an editable install's, do not count.
    (library,) = home.glob("lib/python*/site-packages")
    (library / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


@pytest.fixture(scope="module")
def quick_start(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    backend = ShopBackend(tmp_path_factory.mktemp("backend"), {})
    try:
        with running_quick_start(
            tmp_path_factory.mktemp("quickstart"), backend.base_url, python=python
        ) as url:
            yield url
    finally:
        backend.close()


def test_the_wheel_holds_the_whole_package_and_nothing_else(built: Built) -> None:
    with ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert f"{PACKAGE}/py.typed" in names
    assert names == built.package_files()


def test_the_sdist_holds_what_a_clone_needs_to_run_the_tests(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    needed = {"README.md", "CHANGES.md", "LICENSE", "Makefile", "pyproject.toml", "tests/conftest.py"}
    assert needed | {"docs/backend.md", "example_app/demo.py"} | built.package_files() <= names
    assert not [name for name in names if name.endswith((".pyc", ".sqlite3"))]


def test_the_installed_package_is_the_one_that_is_imported(python: Path, tmp_path: Path) -> None:
    modules = f"{PACKAGE}, {PACKAGE}.sansio.cascade, {PACKAGE}.stores.sqlite"
    found = run(python, "-c", f"import {modules}; print({PACKAGE}.__file__)", folder=tmp_path, python=python)
    assert Path(found.strip()).is_relative_to(python.parent.parent)
    assert not Path(found.strip()).is_relative_to(ROOT)


@pytest.mark.parametrize("name", ["tests", "example_app"])
def test_what_only_the_repository_has_is_not_installed(name: str, python: Path, tmp_path: Path) -> None:
    search = f"from importlib.util import find_spec; print(find_spec({name!r}))"
    assert run(python, "-c", search, folder=tmp_path, python=python).strip() == "None"


def test_the_metadata_names_licence_python_and_readme(built: Built) -> None:
    with ZipFile(built.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = wheel.read(name).decode()
    assert "\nLicense-Expression: MIT\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert "# flask-api-layer\n" in metadata


def test_the_quick_start_runs_on_the_wheel(quick_start: str) -> None:
    with new_browser() as browser:
        cart = browser.get(f"{quick_start}/cart")
        assert (cart.status_code, cart.text) == (200, "0 items")
        form = Form(browser.get(f"{quick_start}/admin"))
        login = {"email": "admin@example.com", "password": "demo-password"}
        report = browser.post(form.target, data=form.fields | login)
        assert (report.url, report.status_code) == (f"{quick_start}/admin", 200)
