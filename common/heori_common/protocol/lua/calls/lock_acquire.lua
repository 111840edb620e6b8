-- lock_acquire.lua: take all of some locks at once, or wait for the first that is not to be had.
-- KEYS   each lock (hash)
-- ARGS   nothing
-- REPLY  what ask_for_locks.lua returns
-- FULL   is refused
-- USES   now_us, hold_locks

local firsts = {} -- of each lock, up to one that is held: its first holder and the end of that lease
local function is_any_held()
  for n, lock in ipairs(KEYS) do
    firsts[n] = redis.call('ZRANGE', holders_key(lock), 0, 0, 'WITHSCORES')
    if firsts[n][1] then
      return true
    end
  end
  return false
end

local function ask()
  -- USES   ask_for_locks
  return ask_for_locks(firsts)
end

return is_any_held() and ask() or hold_locks({})
