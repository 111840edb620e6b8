-- keep_lessons.lua: keep what was learned of some tasks; all that is known lives for another while.
-- KEYS   lessons (hash)
-- ARGS   words, ttl_s
--        words: [task, lesson, …]
-- REPLY  how many tasks are new
-- FULL   is refused

local new = redis.call('HSET', KEYS[1], unpack(args.words))
redis.call('EXPIRE', KEYS[1], args.ttl_s)
return new
