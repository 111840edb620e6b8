"""How much memory a process may use: what the machine has, cut by its cgroups."""

from pathlib import Path

import psutil
import pytest

from heori_common.platform import usable_memory


@pytest.mark.parametrize(
    ("groups", "files", "memory"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "1000000"}, 1_000_000),
        ("0::/a/b\n", {"a/memory.max": "1000000", "a/b/memory.max": "max"}, 1_000_000),
        ("0::/a/b\n", {"memory.max": "900000", "a/b/memory.max": "1000000"}, 900_000),
        ("0::/seen/outside\n", {"memory.max": "800000"}, 800_000),
        ("4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "700000"}, 700_000),
        ("4:cpu:/a\n", {"cpu/a/memory.limit_in_bytes": "1"}, None),
        ("0::/a\n", {"a/b/memory.max": "1", "other/memory.max": "1"}, None),
        # What version 1 says where there is no limit.
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_the_limits_of_the_cgroup_itself_and_of_those_around_it_count(
    tmp_path: Path, groups: str, files: dict[str, str], memory: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    usable = usable_memory(groups, tmp_path)
    assert usable == (psutil.virtual_memory().total if memory is None else memory)
