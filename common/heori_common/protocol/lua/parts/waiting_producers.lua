-- waiting_producers.lua: the line of the producers that wait for room in a queue: first come, first served.
-- The line is a zset, ticket → when it came. Each ticket has a key of its own, `line:ticket`, that
-- expires unless its producer looks after it, and that whoever comes next watches.
-- USES   rq_time

-- Returns the ticket that stands before this one, or at the end for one that is not in the line;
-- false when it is first. Those whose producer is no more are struck.
local function ticket_ahead(line, ticket)
  local place = redis.call('ZCARD', line)
  if place > 0 then
    place = redis.call('ZRANK', line, ticket) or place
  end
  while place > 0 do
    local before = redis.call('ZRANGE', line, place - 1, place - 1)[1]
    if redis.call('EXISTS', line .. ':' .. before) == 1 then
      return before
    end
    redis.call('ZREM', line, before)
    place = place - 1
  end
  return false
end

-- Takes a place at the end, or keeps the one it has; returns whether it is a new one.
--   lease: milliseconds
local function take_place(line, ticket, lease)
  redis.call('SET', line .. ':' .. ticket, '', 'PX', lease)
  local new = redis.call('ZADD', line, 'NX', now_text, ticket)
  redis.call('PEXPIRE', line, lease) -- nobody is left when nobody looks any more
  return new == 1
end
