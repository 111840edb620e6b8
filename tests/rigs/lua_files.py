"""Which Lua files there are."""

from pathlib import Path

import heori_common.protocol

LUA = Path(heori_common.protocol.__file__).parent / "lua"
PARTS = sorted(path.stem for path in (LUA / "parts").glob("*.lua"))
CALLED = sorted(path.stem for path in (LUA / "calls").glob("*.lua"))
