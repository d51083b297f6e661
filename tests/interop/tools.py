"""Public tools, installed below ``build/interop`` by their own clients. A tool that is missing fails the run."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PLACE = HERE.parents[1] / "build" / "interop"
PACKAGE = HERE / "package.json"
INSTALL_SECONDS = 90


class MissingTool(AssertionError):
    """A tool that interop needs is not on this machine."""


def need(name: str, advice: str) -> str:
    """The path of a program. Raises ``MissingTool``."""
    found = shutil.which(name)
    if found is None:
        raise MissingTool(f"interop needs {name}: {advice}")
    return found


def run(arguments: list[str | Path], *, cwd: Path, given: bytes = b"", seconds: int = INSTALL_SECONDS) -> bytes:
    """What a program writes to stdout; its words when it fails."""
    done = subprocess.run(arguments, cwd=cwd, input=given, capture_output=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout.decode()} {done.stderr.decode()}"
    return done.stdout


@cache
def node_place() -> Path:
    """A folder with the packages that ``package.json`` pins; installed once, kept between runs."""
    npm = need("npm", "install Node.js with npm")
    place = PLACE / "node"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "package.json").exists() or (place / "package.json").read_bytes() != PACKAGE.read_bytes():
        shutil.rmtree(place)
        place.mkdir()
        (place / "package.json").write_bytes(PACKAGE.read_bytes())
        flags = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        try:
            run([npm, "install", *flags], cwd=place)
        except BaseException:
            (place / "package.json").unlink()
            raise
    return place


def public_verifier(spec: dict[str, Any], cases: list[dict[str, str]]) -> dict[str, Any]:
    """What ``verify.js`` says of the cases."""
    node = need("node", "install Node.js")
    given = json.dumps({"spec": spec, "cases": cases}).encode()
    answer: dict[str, Any] = json.loads(run([node, HERE / "verify.js"], cwd=node_place(), given=given))
    return answer


@cache
def promtool() -> Path:
    """Prometheus' own checker: the installed one, or that of Debian's package, unpacked and not installed."""
    found = shutil.which("promtool")
    if found is not None:
        return Path(found)
    return _unpacked("prometheus", "usr/bin/promtool")


def _unpacked(package: str, program: str) -> Path:
    """A program of a Debian package, unpacked below ``PLACE``."""
    place = PLACE / package
    path = place / program
    if not path.exists():
        apt = need("apt-get", f"install {package}")
        place.mkdir(parents=True, exist_ok=True)
        if subprocess.run([apt, "download", package], cwd=place, capture_output=True, check=False).returncode:
            run([apt, "update"], cwd=place)
            run([apt, "download", package], cwd=place)
        (archive,) = place.glob(f"{package}_*.deb")
        run([need("dpkg-deb", "install dpkg"), "-x", archive, place], cwd=place)
        archive.unlink()
    return path


@cache
def strace() -> Path:
    """strace: the installed one, or that of Debian's package, unpacked and not installed."""
    found = shutil.which("strace")
    return Path(found) if found is not None else _unpacked("strace", "usr/bin/strace")
