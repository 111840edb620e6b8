-- lock_keys.lua: what is kept of all locks together, in a script whose first keys these are.
-- Included by other scripts (see their USES line); it is never called by itself.

local LAST_FENCE, IN_USE, WAITS = KEYS[1], KEYS[2], KEYS[3]
