-- drain.lua: have one consumer claim nothing from now on, or claim again.
-- KEYS   worker (hash)
-- ARGS   consumer, drains, kind
--        kind: of the message, msgpack [kind], that has it look into its record
-- REPLY  done, already, gone: there is no such consumer, or stock: it is no consumer of ours
-- FULL   passes

if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], 'death') == 1 then
  return 'gone'
elseif redis.call('HEXISTS', KEYS[1], 'heori_metrics') == 0 then
  return 'stock'
end
local is_new
if args.drains then
  is_new = redis.call('HSET', KEYS[1], 'heori_drain', 1)
else
  is_new = redis.call('HDEL', KEYS[1], 'heori_drain')
end
-- Should nobody hear it: it is read with the next heartbeat.
redis.call('PUBLISH', told_key(args.consumer), cmsgpack.pack({ args.kind }))
return is_new == 1 and 'done' or 'already'
