-- offers.lua: consumers that have nothing to do, and how one of them is told of a job.
-- Consumers that serve the same queues are one service. An idle one leaves an offer with its service:
-- for how many jobs it has free slots, and what is needed to claim them for it. Whoever puts a job on
-- a queue takes the offer that has waited longest and tells that consumer alone.
-- What is told is kept until the consumer confirms it with its next claim: it may have been killed,
-- frozen or cut off just before. See take_back.lua.
-- USES   now_us, queue_names

local CONFIRM_US = 900000 -- time to confirm
local FORGOTTEN_S = 3600 -- when no consumer of the service is left that would take it back

local OFFER_CONSUMER, OFFER_TOKEN, OFFER_SLOTS, OFFER_LEASE_S, OFFER_MARGIN_S, OFFER_MAX_PAYLOAD = 1, 2, 3, 4, 5, 6
local PASSED_OVER = 50 -- offers of one service, where some are to be avoided
local AFTER_ALL_US = 1e17

-- The offer of a service that comes first, and its place in the order of all services.
--   avoid: names of consumers that come after all others, each between line ends, or nil
local function first_offer(service, avoid)
  local found = redis.call('ZRANGE', offers_key(service), 0, avoid and PASSED_OVER or 0, 'WITHSCORES')
  for n = 1, #found, 2 do
    if not avoid or not string.find(avoid, '\n' .. cmsgpack.unpack(found[n])[OFFER_CONSUMER] .. '\n', 1, true) then
      return found[n], tonumber(found[n + 1])
    end
  end
  return found[1], found[1] and tonumber(found[2]) + AFTER_ALL_US
end

-- Takes the offer that has waited longest of all that serve a queue. Returns its service and what it
-- says; nil when nobody waits, or is to.
--   name: of a queue, or of one of its tenants'; unread: whether nobody knows of which tasks its jobs are;
--   services: that serve the queue, if they are known
local function take_offer(name, avoid, unread, services)
  services = services or redis.call('ZRANGE', services_key(whole_name(name)), 0, -1)
  while true do
    local best, offer, place
    for _, service in ipairs(services) do
      local other, other_place = first_offer(service, avoid)
      if other and not (place and place < other_place) then
        best, offer, place = service, other, other_place
      end
    end
    if not best then
      return nil
    elseif redis.call('EXISTS', suspended_key(), paused_key()) > 0 then
      local paused = redis.call('EXISTS', suspended_key()) == 1 and { 'queue:' .. name }
        or redis.pcall('HKEYS', paused_key()) -- pcall: it may hold something else
      for _, what in ipairs(paused) do
        if what == 'queue:' .. name or what == 'queue:' .. whole_name(name)
          or unread and string.sub(what, 1, 5) == 'task:' then
          return nil
        end
      end
    end
    redis.call('ZREM', offers_key(best), offer)
    local read = cmsgpack.unpack(offer)
    -- Else it is dead, or has lost its connection and will leave another offer.
    if redis.call('PUBSUB', 'NUMSUB', told_key(read[OFFER_CONSUMER]))[2] > 0 then
      return best, read
    end
  end
end

-- Tells a consumer whose offer was taken.
--   jobs: [id, execution, …] that were claimed for it; claims: what claim.lua would reply of them.
--   Without any it is woken, to claim itself
local function tell(service, offer, name, jobs, claims)
  local told = cmsgpack.pack({ offer[OFFER_CONSUMER], offer[OFFER_TOKEN], name, jobs })
  -- pcall: it may hold something else, and the jobs are claimed
  local noted = redis.pcall('ZADD', handed_key(service), string.format('%.0f', now_us + CONFIRM_US), told)
  if type(noted) == 'number' then
    redis.call('EXPIRE', handed_key(service), FORGOTTEN_S)
  end
  redis.call('PUBLISH', told_key(offer[OFFER_CONSUMER]), cmsgpack.pack({ 'handed', now_us / 1000000, told, claims }))
end

local room_told = {} -- free slots of those that were woken in this call and not for a job yet, by queue

-- Wakes as many consumers as it needs for so many jobs that were put on a queue; returns for how many
-- of them nobody waits.
--   services: that serve the queue and may have consumers which wait, if they are known
local function wake(queue, jobs, avoid, services)
  local name = queue_name(queue)
  local whole = whole_name(name)
  local left = jobs - (room_told[whole] or 0)
  while left > 0 do
    local ok, service, offer = pcall(take_offer, name, avoid, false, services) -- pcall: a key may hold anything
    if not ok or not service then
      room_told[whole] = 0
      return left
    end
    tell(service, offer, name, {}, {})
    left = left - offer[OFFER_SLOTS]
  end
  room_told[whole] = -left
  return 0
end
