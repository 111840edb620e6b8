-- lock_fenced_command.lua: a command that whoever has lost the lock cannot have executed any more.
-- KEYS   who wrote last (hash: fence, owner)
-- ARGS   fence, owner, command, forget_s
--        command: [word, …]; forget_s: until it is not known any more who wrote last
-- REPLY  [1, the command's reply], or [0, the fence that has written since]
-- FULL   as its command

local last = redis.call('HMGET', KEYS[1], 'fence', 'owner')
local fence = tonumber(last[1])
-- A double tells them apart: they are microseconds, below 2^53 until 2255.
if fence and (fence > args.fence or fence == args.fence and last[2] ~= args.owner) then
  return { 0, last[1] }
end
local reply = redis.call(unpack(args.command))
redis.call('HSET', KEYS[1], 'fence', string.format('%.0f', args.fence), 'owner', args.owner)
redis.call('EXPIRE', KEYS[1], args.forget_s)
return { 1, reply }
