-- waiting_producers.lua: the producers that wait for room in a queue: first come, first served.
-- They stand in a zset, ticket → when it came. Each ticket also has a key of its own, which expires
-- unless its producer looks after it, and which the next in the line watches.
-- USES   now_text

-- Returns the ticket that stands before this one, or at the end for one that is not in the line;
-- false when it is first. Those whose producer is no more are struck.
local function ticket_ahead(queue, ticket)
  local line = waiting_producers_key(queue)
  local place = redis.call('ZCARD', line)
  if place > 0 then
    place = redis.call('ZRANK', line, ticket) or place
  end
  while place > 0 do
    local before = redis.call('ZRANGE', line, place - 1, place - 1)[1]
    if redis.call('EXISTS', ticket_key(queue, before)) == 1 then
      return before
    end
    redis.call('ZREM', line, before)
    place = place - 1
  end
  return false
end

-- Takes a place at the end, or keeps the one it has; returns whether it is a new one.
local function take_place(queue, ticket, lease_ms)
  local line = waiting_producers_key(queue)
  redis.call('SET', ticket_key(queue, ticket), '', 'PX', lease_ms)
  local new = redis.call('ZADD', line, 'NX', now_text, ticket)
  redis.call('PEXPIRE', line, lease_ms) -- nobody is left when nobody looks any more
  return new == 1
end
