"""An application's own tests, in a pytest of their own, as its developers run them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples/testing"
# Plugins of other libraries that are installed here.
ALONE = ["-c", os.devnull, "-p", "no:cacheprovider"]
ALONE += ["-p", "no:anyio", "-p", "no:cloudcoil", "-p", "no:schemathesis", "-p", "no:valkey"]


def run_pytest(folder: Path, *words: str, **environment: str) -> str:
    """Run it to its end; what it says. Nothing of this run's own settings reaches it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    own.pop("HEORI_REDIS_URL", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *ALONE, "--rootdir", folder, *words],
        cwd=folder,
        env=own | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_passes_side_by_side_and_leaves_nothing() -> None:
    said = run_pytest(FOLDER, "-n", "2")
    assert "7 passed" in said


@pytest.mark.skipif("EXAMPLES" not in os.environ, reason="set EXAMPLES=1 for all models")
def test_consumers_of_all_models_run_and_end(tmp_path: Path) -> None:
    (tmp_path / "test_models.py").write_text(
        "import pytest\n"
        "from heori.testing import MODELS\n"
        "import shop\n"
        "@pytest.mark.parametrize('model', MODELS)\n"
        "def test_it(model, heori_consume, heori_producer):\n"
        "    consumer = heori_consume('shop', model=model)\n"
        "    handle = heori_producer.submit(shop.total, [1, 2])\n"
        "    assert handle.result(timeout=120) == 3\n"
        "    consumer.stop()\n"
        "    assert 'stopped' in ''.join(consumer.log)\n"
    )
    assert "5 passed" in run_pytest(tmp_path, PYTHONPATH=str(FOLDER))


def test_a_run_that_uses_no_fixture_loads_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n"
        "def test_it(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.has_plugin('heori')\n"
        "    loaded = {name for name in sys.modules if name.startswith('heori')}\n"
        "    assert loaded == {'heori', 'heori.pytest_plugin'}\n"
        "    assert not {'redis', 'pydantic', 'msgpack'} & set(sys.modules)\n"
    )
    assert "1 passed" in run_pytest(tmp_path)
