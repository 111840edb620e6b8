-- lock_keys.lua: what is kept of all locks together, in a script whose first keys these are.

local LAST_FENCE, IN_USE, WAITS = KEYS[1], KEYS[2], KEYS[3]
