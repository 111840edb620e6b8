-- server_time.lua: the server's time, read once a call so that one batch has one time.

local server_time = redis.call('TIME') -- {seconds, microseconds}, as text
