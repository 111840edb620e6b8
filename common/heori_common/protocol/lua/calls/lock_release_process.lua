-- lock_release_process.lua: take locks from a process that has ended, and hand them to the next.
-- KEYS   each lock (hash)
-- ARGS   begins
--        begins: how the ids of all requests of that process begin
-- REPLY  how many it held
-- FULL   passes
-- USES   lock_record, lock_handover

local function release_all(lock)
  local held = 0
  for _, id in ipairs(redis.call('ZRANGE', holders_key(lock), 0, -1)) do
    if string.sub(id, 1, #args.begins) == args.begins and remove_holder(lock, id) then
      held = held + 1
    end
  end
  if held > 0 then
    grant_to_waiters(lock)
  end
  return held
end

local held = 0
for _, lock in ipairs(KEYS) do
  -- pcall: a key that holds something else has taken the lock with it
  local ok, number = pcall(release_all, lock)
  held = held + (ok and number or 0)
end
return held
