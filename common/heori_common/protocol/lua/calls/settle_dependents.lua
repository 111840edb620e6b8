-- settle_dependents.lua: queue what waits for jobs that have ended, where that is still to be done. It
-- may be called by any number at once.
-- KEYS   ended (zset)
-- ARGS   most, skip, mark, cursor
--        most: how many of the waiting to look at, about
--        skip, mark, cursor: where the call before has stopped; at first 0, '' and '0'
-- REPLY  msgpack [whether there is more to look at, skip, mark, cursor]
-- FULL   passes
-- USES   dependents

local ended = unpack(KEYS)
local room, skip, cursor = args.most, args.skip, args.cursor

-- The mark that comes next, oldest first; nil when there are no more, or the key holds something else.
local function next_mark()
  local marks = redis.pcall('ZRANGE', ended, skip, skip)
  return not marks.err and marks[1] or nil
end

local mark = next_mark()
if mark ~= args.mark then
  cursor = '0' -- that one is settled by now
end
while mark and room > 0 do
  local ok, goes_on, is_whole, looked_at = pcall(settle, mark, cursor, room)
  if ok and goes_on then
    cursor = goes_on
    break
  end
  cursor = '0'
  if not (ok and is_whole) then
    skip = skip + 1 -- a key does not hold what it should; it is tried again
  end
  room = room - 1 - (ok and looked_at or 0)
  mark = next_mark()
end
tell_arrivals()
return cmsgpack.pack({ mark ~= nil, skip, mark or '', cursor })
