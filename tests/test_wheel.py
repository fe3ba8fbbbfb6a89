"""The wheel as users install it: built, put into an environment of its own, and run."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(
        next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"]))
    )


def test_the_wheel_holds_all_of_the_package_and_nothing_else(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {path for path in (ROOT / "llmbatch").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert inside == {path.relative_to(ROOT).as_posix() for path in package}
    assert {"llmbatch/py.typed", "llmbatch/help/records.md", "llmbatch/ui/pages/page.css"} <= inside


def test_the_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """Without a network: the libraries are those of this environment."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True, timeout=120)
    site = next(home.glob("lib/python*/site-packages"))
    (site / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (tmp_path / "in.jsonl").write_text('"hi"\n"there"\n')

    def llmbatch(*words: str) -> str:
        done = subprocess.run(
            [home / "bin" / "llmbatch", *words], capture_output=True, text=True, cwd=tmp_path, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [python, "-c", "import llmbatch; print(llmbatch.__file__)"], capture_output=True, text=True, cwd=tmp_path
    )
    assert where.stdout.startswith(str(site)), "it is the wheel that is tested"
    llmbatch("run", "in.jsonl", "-p", "mock", "-o", "out.jsonl")
    assert "2 of 2" in llmbatch("report", "out.jsonl", "--format", "html")
    assert llmbatch("help", "resume").startswith("# Resuming")
