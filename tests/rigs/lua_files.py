"""Which Lua files there are."""

from pathlib import Path

import heori_common.protocol

LUA = Path(heori_common.protocol.__file__).parent / "lua"
INCLUDED = {path.stem for path in LUA.glob("*.lua") if "never called by itself" in path.read_text()}
CALLED = sorted({path.stem for path in LUA.glob("*.lua")} - INCLUDED)
