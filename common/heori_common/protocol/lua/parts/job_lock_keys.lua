-- job_lock_keys.lua: what is kept of all locks together, in a script that is about jobs.

local LAST_FENCE, IN_USE, WAITS = unpack(args.lock_keys)
