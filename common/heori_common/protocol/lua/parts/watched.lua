-- watched.lua: whether those who hold leases could extend them lately.
-- Some consumer of a queue looks for expired leases every second, as long as it has any, and leaves a
-- mark that stays a little longer. Who leads a service leaves one for all of its queues. Where there
-- is none, nobody has looked: the server was away or stood still, or all consumers did. Then leases
-- have run out of which nobody knows whether their holders live. These get a while to come back before
-- anything is taken from them. One consumer that is cut off or paused by itself does not keep the
-- others from looking, and gets no such while.
-- ARGS   come_back_s
--        come_back_s: seconds that holders get when nobody has looked
-- USES   now_s

-- Since when there has been such a mark without a break; nil when there is none.
local function watched_since(mark)
  local since_s = redis.pcall('GET', mark) -- pcall: it may hold something else
  since_s = type(since_s) == 'string' and tonumber(since_s)
  return since_s and since_s <= now_s and since_s or nil -- else the clock was set back
end

-- Whether holders may still be coming back, given what `watched_since` says.
local function may_come_back(since_s)
  return not since_s or now_s < since_s + args.come_back_s
end
