-- read_dead.lua: a page of a failed registry, from a position on whose entry may have left meanwhile.
-- KEYS   failed (zset)
-- ARGS   score, id, count, newest_first
--        score, id: of the entry that was read last; score is a text, empty to begin
--        newest_first: read from the latest expiry to the earliest, else the other way
-- REPLY  msgpack [id, score, …] from the earliest to the latest; the score as a text
-- FULL   only reads

-- Ids of one score stand in the order of their bytes. Lua's own order follows the server's language.
local function is_before(a, b)
  for n = 1, math.min(#a, #b) do
    local x, y = a:byte(n), b:byte(n)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

-- How many entries stand before a position.
local function rank_of(failed, score, id)
  local least = redis.call('ZCOUNT', failed, '-inf', '(' .. score)
  local most = redis.call('ZCOUNT', failed, '-inf', score)
  while least < most do
    local middle = math.floor((least + most) / 2)
    if is_before(redis.call('ZRANGE', failed, middle, middle)[1], id) then
      least = middle + 1
    else
      most = middle
    end
  end
  return least
end

local failed = KEYS[1]
local size = redis.call('ZCARD', failed)
local first, last
if args.newest_first then
  last = (args.score == '' and size or rank_of(failed, args.score, args.id)) - 1
  first = math.max(0, last - args.count + 1)
else
  first = args.score == '' and 0 or rank_of(failed, args.score, args.id)
  if args.score ~= '' and redis.call('ZRANGE', failed, first, first)[1] == args.id then
    first = first + 1
  end
  last = first + args.count - 1
end
return cmsgpack.pack(last < 0 and {} or redis.call('ZRANGE', failed, first, last, 'WITHSCORES'))
