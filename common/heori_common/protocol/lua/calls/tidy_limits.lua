-- tidy_limits.lua: free the slots of RQ's rate limits that nobody holds any more, as RQ's own workers do
-- (rq 3.0.0, rq/rate_limit.py, cleanup): a job that had one is gone, or has ended without a word. One that
-- stands nowhere would keep its slot for ever, and all others of the limit waiting: it goes back to its
-- queue. It is called again with the cursor of the last reply until that is '0'.
-- KEYS   limits (set)
-- ARGS   cursor, most
--        most: limits in one call, about, and slots of each
-- REPLY  msgpack [cursor, how many slots were freed, or jobs put back]
-- FULL   passes
-- USES   now_s, read_fields, rate_limit, stranded

local SHORT = 1000 -- ids on a queue that is searched: in a longer one, a job has time to come to the front

-- Whether a job of that status is where it should be.
local HOLDS = {
  queued = function(name, id)
    local queue = queue_key(name)
    return redis.call('LLEN', queue) > SHORT or redis.call('LPOS', queue, id)
      or redis.call('LPOS', intermediate_key(name), id) -- where reclaim_stock.lua looks
  end,
  started = function(name, id)
    local wip = wip_key(name)
    for _, execution in ipairs(executions_of(id)) do
      local entry = id .. ':' .. execution
      if redis.call('ZSCORE', wip, entry) or redis.call('EXISTS', execution_key(entry)) == 1 then
        return true
      end
    end
    return redis.call('ZSCORE', wip, id) -- as rq 1 has it
  end,
}

local page = redis.pcall('SSCAN', unpack(KEYS), args.cursor, 'COUNT', args.most)
if page.err then
  return cmsgpack.pack({ '0', 0 }) -- it holds something else
end
local freed = 0

local function look_at_holder(limit, id)
  local found = read_fields(job_key(id), 'status', 'origin')
  local holds = HOLDS[found.status or '']
  -- One that was cancelled while it ran keeps its slot until it ends.
  local runs = redis.pcall('ZCOUNT', executions_key(id), '(' .. string.format('%.0f', now_s), '+inf')
  if not holds and not (type(runs) == 'number' and runs > 0) then
    free_slot(id, limit)
    freed = freed + 1
  elseif holds and found.origin and holds(found.origin, id) then
    redis.call('DEL', first_seen_key(found.origin, id))
  elseif holds and found.origin and is_stranded(found.origin, id) then
    put_back(found.origin, id)
    freed = freed + 1
  end
end

for _, limit in ipairs(page[2]) do
  local allowed = redis.pcall('ZRANGE', limit_allowed_key(limit), 0, args.most - 1)
  for _, id in ipairs(allowed.err and {} or allowed) do
    pcall(look_at_holder, limit, id) -- what it looks at may hold something else
  end
  pcall(let_through, limit) -- its keys may hold something else
end
return cmsgpack.pack({ page[1], freed })
