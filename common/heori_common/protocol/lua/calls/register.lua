-- register.lua: write a consumer's record, and its name where consumers are looked for.
-- KEYS   each key that is written
-- ARGS   writes
--        writes: [[command, number of its key from 0, word, …], …]
-- REPLY  msgpack [reply, or false when the key holds something else, …]
-- FULL   passes

local replies = {}
for n, write in ipairs(args.writes) do
  local reply = redis.pcall(write[1], KEYS[write[2] + 1], unpack(write, 3))
  local is_broken = type(reply) == 'table'
  if is_broken and string.sub(reply.err, 1, 9) ~= 'WRONGTYPE' then
    return reply
  end
  replies[n] = not is_broken and reply
end
return cmsgpack.pack(replies)
