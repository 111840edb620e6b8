"""What is said to Redis, and how its answers are read. Pure: nothing here does any I/O.

- `keys`: the names of all keys; `catalogue`: what they hold. `records`: which field stands where in
  the arrays that Lua and Python hand each other.
- `commands`: a builder for each command, with the way to read its reply.
- `lua/calls`: the scripts that are called; `lua/parts`: what several of them share. `scripts` puts
  them together, brings what a part uses, and refuses a script with a name that nothing defines.
  `expansion` writes the names of keys and the places of fields into them.
- `job`, `payload`, `dead_letter`: the codec of RQ's records.
"""
