"""The peers that need a newer Python than Heori, as far as `make bench` has installed them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rig import ROOT
from benchmarks.systems import Library
from tests.rigs.benchmarks import ENOUGH_S

INSTALLED = ROOT / ".venv-bench"


@pytest.mark.parametrize("peer", ["ardiq", "mayu"])
def test_a_peer_with_a_rust_core_is_measured(peer: str, tmp_path: Path) -> None:
    if next(INSTALLED.glob(f"lib/python*/site-packages/{peer}"), None) is None:
        pytest.skip(f"make bench BENCH_PYTHON=python3.13 installs {peer}, and has not done so")
    found = _medians(tmp_path / "figures.json", f"{peer} 1", "drain", "enqueue")
    [drained], [sent] = (found[kind].values() for kind in ("drain", "enqueue"))
    assert drained["rate"] > 0 == drained["repeats"]
    assert sent["each"] > 0


def test_a_library_says_which_python_it_needs() -> None:
    newer = (sys.version_info.major, sys.version_info.minor + 1)
    library = Library(("no_such_library",), "queue", None, python=newer)
    needed = ".".join(map(str, newer))
    assert library.missing() == (
        f"no_such_library needs Python {needed} (make bench BENCH_PYTHON=python{needed})"
    )
    here = Library(("no_such_library",), "queue", None)
    assert here.missing() == "no_such_library is not installed (make bench installs it)"


def _medians(file: Path, peer: str, *kinds: str) -> dict[str, Any]:
    words = ["-m", "benchmarks", *kinds, "--quick", "--only", peer, "--json", str(file)]
    environment = {**os.environ}
    environment.pop("PYTHONPATH", None)
    subprocess.run(
        [INSTALLED / "bin/python", *words],
        cwd=ROOT,
        env=environment,
        check=True,
        timeout=ENOUGH_S,
        capture_output=True,
    )
    found: dict[str, Any] = json.loads(file.read_text())["medians"]
    return found
