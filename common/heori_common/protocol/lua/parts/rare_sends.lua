-- rare_sends.lua: what few jobs ask for when they are sent.
-- ARGS   rare
-- USES   now_s, same_call

-- Returns the id of a job that is sent in this one's place, or nil; and whether it gets this one's call.
local function in_place_of(id, scheduled)
  local same, status
  if args.rare.call then
    same, status = same_call(args.rare.call)
  end
  if not same or same == id then
    return nil
  elseif not args.rare.latest then
    return same, false
  elseif status == 'scheduled' and redis.call('ZSCORE', scheduled, same) then
    return same, true
  end
end

local function note_call(id)
  if args.rare.call then
    redis.call('HSET', same_calls_key(), args.rare.call, id)
  end
end

-- Adds to a job's fields when it expires, if it does.
local function add_expiry(fields)
  local expires_s = args.rare.expires_at_s or args.rare.expires_s and now_s + args.rare.expires_s
  if not expires_s then
    return
  end
  local place, packed = #fields + 1, '\128' -- a map without anything
  for n = 1, #fields, 2 do
    if fields[n] == 'heori_options' then
      place, packed = n, fields[n + 1]
    end
  end
  -- One more entry: the other options stay as their sender has written them.
  fields[place] = 'heori_options'
  fields[place + 1] = string.char(packed:byte() + 1) .. packed:sub(2) .. cmsgpack.pack('expires', expires_s)
end
