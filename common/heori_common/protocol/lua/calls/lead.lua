-- lead.lua: lead a service, if nobody does or this consumer does already; and take back what a
-- consumer has not confirmed.
-- KEYS   leader (string), watching (string), workers (set)
-- ARGS   service, consumer, ttl_ms, watch_ms, consumers, takes_back
--        ttl_ms: for which it leads, unless it calls again; 0 to lead no more
--        watch_ms: for which the mark of the last look for expired leases stays: it looks every second
--        consumers: how many are registered, as far as this one knows; 0 to have them counted
--        takes_back: whether it takes anything back
-- REPLY  msgpack [whether this consumer leads, how many consumers are registered, how many hand-overs
--        and wake-ups were taken back, in how many seconds the next one is to be, or false, whether jobs
--        have ended and others still wait for them, see settle_dependents.lua, whether the service has
--        periodic jobs]
-- FULL   passes
-- USES   leader, take_back

local key, watching, workers = unpack(KEYS)
local leader, consumers = leader_of(key)
if leader and leader ~= args.consumer then
  return cmsgpack.pack({ false, consumers, 0, false, false, false })
end
if args.ttl_ms == 0 then
  redis.call('DEL', key)
  return cmsgpack.pack({ false, args.consumers, 0, false, false, false })
end
consumers = args.consumers
if consumers == 0 then
  local registered = redis.pcall('SCARD', workers) -- pcall: it may hold something else
  consumers = type(registered) == 'number' and registered or 1
end
-- Else nobody has led for a while: all may have stood still, and then what consumers have sent meanwhile
-- may come right after this call.
local is_steady = redis.call('PTTL', key) > args.ttl_ms / 3
redis.call('SET', key, string.format('%d %s', consumers, args.consumer), 'PX', args.ttl_ms)
redis.call('PEXPIRE', watching, args.watch_ms)
local are_left = redis.call('EXISTS', ended_key()) == 1
local has_schedule = redis.call('EXISTS', schedule_key(args.service)) == 1
if not args.takes_back then
  return cmsgpack.pack({ true, consumers, 0, false, are_left, has_schedule })
elseif not is_steady then
  return cmsgpack.pack({ true, consumers, 0, 0, are_left, has_schedule })
end
local taken_back, pause_s = take_back_overdue(args.service)
return cmsgpack.pack({ true, consumers, taken_back, pause_s, are_left, has_schedule })
