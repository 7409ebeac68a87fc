-- Bindings of sessions, one operation a call. All keys of one tenant are in one bucket, and a
-- bucket is in one hash slot. So an operation is atomic, and one round trip.
--
--   KEYS[1]  {prefix:bucket}:E, which exists once anything is bound in the bucket
--   KEYS[2]  the key of the request's first explicit id, if it has one
--   ARGV     operation, TTL and lag in milliseconds, then what the operation takes
--
-- Keys of a bucket, after {prefix:bucket}: and a colon:
--
--   E                 the epoch: random, made when the bucket's data is new
--   s<session>        a session's record, packed
--   k<scope><key>     the session that has a key; one byte more for a mark that two have
--   n<scope><key>     a note, packed
--   T<tenant>         the tenant's sessions by the time when they expire
--   A<auth>           the sessions that are bound to an auth, likewise
--   M                 the sessions that have a memo, likewise
--   N<tenant>         the tenant's notes, likewise
--   B<auth>           the notes of an auth, likewise
--   L                 the names of the auths that have an index of sessions, by the time when
--                     that index expires
--
-- Redis expires each of them by itself. Entries of expired sessions in an index are removed
-- when other sessions are bound.
--
-- An operation reads before it writes, and writes indexes first. So an operation that fails
-- half-way, because a slot moves to another node or memory is full, leaves no half session.
--
-- The server tells a near-cache when KEYS[2] is written: Redis 7.0 tracks the KEYS of a
-- script, later versions track what the script reads. So an operation that changes a session's
-- auth or memo writes the keys of its explicit ids.

local E = KEYS[1]
local base = string.sub(E, 1, -2)
local call = redis.call
local ttl, lag = tonumber(ARGV[2]), tonumber(ARGV[3])
local life = ttl + lag -- the last use that was written may be lag older than the last use
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local none = ''

-- Bounds of the keys of one session, and of the work that an operation does for other
-- sessions.
local maxRequested = 4 -- names of one request
local maxNames, firstEnds, maxEnds, maxAlso, maxMarks, maxAnswers = 8, 2, 8, 6, 8, 8
local maxElders, twinTime, few = 8, 300000, 4

local unboundCause, releasedCause, authCause = 4, 5, 7

-- Arguments in their order.
local at = 3
local function arg()
  at = at + 1
  return ARGV[at]
end
local function num() return tonumber(arg()) end
local function keys(s)
  local all = {}
  for i = 1, #s, 16 do all[#all + 1] = string.sub(s, i, i + 15) end
  return all
end
local zero = string.rep('\0', 16)
local function given(k) return k ~= nil and k ~= none and k ~= zero end

-- The fields of a record. Their names are short because they are stored:
--   i session  c scope  t tenant  a auth  g generation  b when that was made (ms)
--   u used last (ms)
--   d served last (ms), absent if never   p open uses   l cause, if the auth is lost
--   m memo   n names  e ends  o also  k marks  x keys of answers, 16 bytes each
--   q requests that came with the latest end   f those of them that were served
--   w when its keys' expiry was set   r 1 if the latest end was answered
--   v version of this format
--   y twin: c awaited, o one is its own, k end, i since, t taken end, e elder
local records = {}

-- A record of another version or another program counts as missing.
local version = 1
local function unpacked(v)
  if not v then return false end
  local ok, r = pcall(cmsgpack.unpack, v)
  if not ok or type(r) ~= 'table' or r.v ~= version then return false end
  return r
end

local function load(id)
  if not given(id) then return nil end
  local r = records[id]
  if r == nil then
    r = unpacked(call('GET', base .. 's' .. id))
    if r then r.i = id end
    records[id] = r
  end
  return r or nil
end

local function list(r, name) return r[name] or none end
local function find(l, k)
  for i = 1, #l, 16 do
    if string.sub(l, i, i + 15) == k then return i end
  end
  return nil
end
local function without(l, i) return string.sub(l, 1, i - 1) .. string.sub(l, i + 16) end
local function hasName(r, k) return find(list(r, 'n'), k) ~= nil end
local function latest(r) return string.sub(list(r, 'e'), -16) end
local function has(r, k)
  for _, name in ipairs({ 'n', 'e', 'o', 'k', 'x' }) do
    if find(list(r, name), k) then return true end
  end
  return false
end
local function forget(r, k)
  for _, name in ipairs({ 'e', 'o', 'k', 'x' }) do
    local i = find(list(r, name), k)
    if i then r[name] = without(r[name], i) end
  end
  r.dirty = true
end

local function provisional(r) return r.l == nil and r.d == nil end

-- The session that has a key.
local scope = none
local aliases = {}
local function alias(k)
  local v = aliases[k]
  if v == nil then
    v = call('GET', base .. 'k' .. scope .. k)
    aliases[k] = v
  end
  return v
end
local function setAlias(k, v) aliases[k] = v end
local changed = {} -- keys whose alias is to be written
local function lead(k, r) setAlias(k, r.i) changed[k] = true end
local function vacate(k) setAlias(k, false) changed[k] = true end

local function owner(k)
  if not given(k) then return nil end
  local id = alias(k)
  if not id or #id ~= 16 then return nil end
  return load(id)
end

-- Indexes. They contain the digest of a long name of an auth. The caller gives names that are
-- only compared in that form.
local function index(auth)
  if #auth > 64 or string.sub(auth, 1, 1) == '#' then return '#' .. redis.sha1hex(auth) end
  return auth
end
local function link(r) call('ZADD', base .. 'A' .. index(r.a), r.u + life, r.i) end
local function unlink(r) call('ZREM', base .. 'A' .. index(r.a), r.i) end
local function free(name)
  local over = call('ZRANGEBYSCORE', name, '-inf', now, 'LIMIT', 0, few)
  if #over > 0 then call('ZREM', name, unpack(over)) end
end

-- Lets the server tell the near-caches that track the session's explicit ids.
local function tell(r)
  for _, k in ipairs(keys(list(r, 'n'))) do call('PEXPIRE', base .. 'k' .. r.c .. k, 2 * life) end
end

local function lose(r, cause, gen)
  unlink(r)
  tell(r)
  r.g, r.b, r.l, r.d, r.p, r.dirty = gen, now, cause, nil, nil, true
end
local function rebind(r, auth, gen)
  if r.l == nil then unlink(r) end
  tell(r)
  r.a, r.g, r.b, r.l, r.d, r.p, r.dirty, r.linked = auth, gen, now, nil, nil, 0, true, true
end
local function open(r)
  if provisional(r) then
    r.p = (r.p or 0) + 1
    r.dirty = true
  end
end

-- Removes a session with all its keys, now.
local function remove(r)
  call('ZREM', base .. 'T' .. r.t, r.i)
  if r.l == nil then unlink(r) end
  if r.m then call('ZREM', base .. 'M', r.i) end
  local gone = { base .. 's' .. r.i }
  for _, name in ipairs({ 'n', 'e', 'o', 'k', 'x' }) do
    for _, k in ipairs(keys(list(r, name))) do
      local key = base .. 'k' .. r.c .. k
      local id = call('GET', key)
      if id and string.sub(id, 1, 16) == r.i then gone[#gone + 1] = key end
    end
  end
  call('DEL', unpack(gone))
  records[r.i] = false
end

-- Twins: conversations that began with the same words.
local function twin(r)
  if not r.y then r.y = {} end
  r.dirty = true
  return r.y
end
local function awaits(r, k) local y = r.y return y and (y.c or 0) > 0 and y.k == k and now - y.i < twinTime end
local function elderOf(r, k) local y = r.y return y and y.t == k and y.e or nil end
local function eldest(from, k)
  local best = nil
  for _ = 1, maxElders do
    local r = load(from)
    if from == nil then break end
    if r then
      if awaits(r, k) then best = from end
      from = elderOf(r, k)
    else
      from = nil
    end
  end
  return best
end

-- The request.
local names, endKey, fallbacks, also, marks, marksFrom, ongoing = {}, none, {}, {}, {}, {}, false
local by, byAt, opening = none, 0, false

local function readKeys()
  scope = arg()
  names = keys(arg())
  endKey = arg()
  fallbacks = keys(arg())
  also = keys(arg())
  marks = keys(arg())
  for n in string.gmatch(arg(), '%d+') do marksFrom[#marksFrom + 1] = tonumber(n) end
  ongoing = arg() == '1'
end

local function foresee()
  for i, k in ipairs(fallbacks) do
    byAt = i - 1
    local r = owner(k)
    if r then
      local elder = elderOf(r, k)
      if elder then
        local e = eldest(elder, k)
        r = e and load(e) or r
      end
      by = k
      return r
    end
  end
  return nil
end

local function search()
  for _, k in ipairs(names) do
    local r = owner(k)
    if r then return r end
  end
  opening = #names == 0
  if not opening then return nil end
  local r = foresee()
  -- A retry of a request in the session that Fallbacks find is no opening.
  local same = owner(endKey)
  if same and same ~= r and latest(same) == endKey and not same.r then return same end
  opening = r == nil
  return r
end

-- Binding keys.
local function push(r, name, kept, limit, k)
  local l = list(r, name)
  if #l == limit * 16 then
    local i = kept * 16 + 1
    local old = string.sub(l, i, i + 15)
    l = without(l, i)
    r[name] = l
    local id = alias(old)
    if id and string.sub(id, 1, 16) == r.i and not has(r, old) then vacate(old) end
  end
  r[name] = l .. k
  r.dirty = true
  lead(k, r)
end

local function renew(r, name, k)
  local l = list(r, name)
  local i = find(l, k)
  if not i then return false end
  if i ~= #l - 15 then
    r[name] = without(l, i) .. k
    r.dirty = true
  end
  return true
end

local function take(k)
  local other = owner(k)
  if not other then
    vacate(k)
  elseif hasName(other, k) then
    return false
  else
    forget(other, k)
  end
  return true
end

local function bindName(r, k)
  if not given(k) or hasName(r, k) or #list(r, 'n') == maxNames * 16 then return end
  local other = owner(k)
  if other == r then
    forget(r, k)
  elseif other then
    return
  end
  r.n = list(r, 'n') .. k
  r.dirty = true
  lead(k, r)
end

local function bindEnd(r, k)
  if not given(k) or latest(r) == k then return end
  local other, elder = owner(k), nil
  if other and latest(other) == k then
    local y = twin(other)
    y.c, y.o, y.k, y.i = math.max(1, other.f or 0), true, k, now
    other.f = nil
  end
  if other and awaits(other, k) then elder = other.i end
  if not take(k) then return end
  local served, y = r.f or 0, r.y
  r.f = nil
  if served > 1 then
    y = twin(r)
    y.c, y.o, y.k, y.i = served - 1, false, latest(r), now
  elseif y and (y.c or 0) > 0 and (by == y.k or y.o) then
    y.c, y.o = y.c - 1, false
  end
  if elder then
    y = twin(r)
    y.e, y.t = elder, k
  end
  r.r, r.q = nil, nil
  push(r, 'e', firstEnds, maxEnds, k)
end

local function bindOther(r, name, limit, k)
  if not given(k) or renew(r, name, k) then return end
  if owner(k) == r and has(r, k) or not take(k) then return end
  push(r, name, 0, limit, k)
end

local function bindMark(r, k)
  if not given(k) or renew(r, 'k', k) then return false end
  local other = owner(k)
  if not other then
    local id = alias(k)
    if id and #id > 16 and load(string.sub(id, 1, 16)) then return false end
    vacate(k)
    push(r, 'k', 0, maxMarks, k)
  elseif other ~= r and not hasName(other, k) then
    setAlias(k, other.i .. 'x')
    changed[k] = true
    return true
  end
  return false
end

local function use(r)
  for _, k in ipairs(names) do bindName(r, k) end
  bindEnd(r, endKey)
  for _, k in ipairs(also) do bindOther(r, 'o', maxAlso, k) end
  r.touched = true
end

-- Sets the expiry of the index of a session's auth, and keeps the auth's name for as long.
local function keepIndex(r)
  local name = base .. 'L'
  call('ZADD', name, now + 3 * life, r.a)
  call('PEXPIRE', name, 3 * life)
  call('PEXPIRE', base .. 'A' .. index(r.a), 3 * life)
end

-- Writes what has changed.
local function flush()
  for id, r in pairs(records) do
    if r and (r.dirty or r.touched and now - r.u >= lag) then
      local all = r.w == nil or r.touched and now - r.w > ttl / 2
      local slide = r.touched or r.fresh
      if slide then
        r.u = now
        call('ZADD', base .. 'T' .. r.t, now + life, id)
        if r.l == nil then link(r) end
        if r.m then call('ZADD', base .. 'M', now + life, id) end
      elseif r.linked then
        link(r)
      end
      if all then
        r.w = now
        call('PEXPIRE', base .. 'T' .. r.t, 3 * life)
        if r.l == nil then keepIndex(r) end
        if r.m then call('PEXPIRE', base .. 'M', 3 * life) end
        for _, name in ipairs({ 'n', 'e', 'o', 'k', 'x' }) do
          for _, k in ipairs(keys(list(r, name))) do
            if not changed[k] then call('PEXPIRE', base .. 'k' .. r.c .. k, 2 * life) end
          end
        end
      elseif r.linked then
        keepIndex(r)
      end
      r.i, r.dirty, r.touched, r.fresh, r.linked = nil, nil, nil, nil, nil
      local v = cmsgpack.pack(r)
      if slide then
        call('SET', base .. 's' .. id, v, 'PX', life)
      else
        call('SET', base .. 's' .. id, v, 'KEEPTTL')
      end
      r.i = id
    end
  end
  for k in pairs(changed) do
    local v = aliases[k]
    if v then
      call('SET', base .. 'k' .. scope .. k, v, 'PX', 2 * life)
    else
      call('DEL', base .. 'k' .. scope .. k)
    end
  end
end

-- Returns what the caller sees of a session.
local function binding(r, used, shared, asked)
  local since, served = 0, 0
  if r.l == nil and r.d then served, since = 1, math.max(now - r.d, 0) end
  return { r.i, r.a, r.g, r.l or 0, served, since, math.max(now - used, 0), r.m or none,
    opening and 1 or 0, asked or 0, shared or 0, math.max(now - r.b, 0) }
end

local function current()
  local r = load(arg())
  local gen = arg()
  if r and r.g == gen then return r, r end
  return nil, r
end

-- Removes sessions of a tenant that has too many, and some entries of expired ones.
local function bound(r, max)
  local name = base .. 'T' .. r.t
  free(name)
  free(base .. 'A' .. index(r.a))
  free(base .. 'M')
  free(base .. 'L')
  if max > 0 then
    local over = call('ZCARD', name) - max
    if over > 0 then
      for _, id in ipairs(call('ZRANGE', name, 0, math.min(over, 2 * few) - 1)) do
        if id ~= r.i then
          local old = load(id)
          if old then remove(old) else call('ZREM', name, id) end
        end
      end
    end
  end
end

-- Says which of the request's keys the session has: a bit for each, names first.
local function owned(r)
  local bits = 0
  for i, k in ipairs(names) do
    if hasName(r, k) then bits = bits + 2 ^ (i - 1) end
  end
  for i, k in ipairs(also) do
    if given(k) and owner(k) == r then bits = bits + 2 ^ (maxRequested + i - 1) end
  end
  return bits
end

local ops = {}

-- scope keys… auth tenant session generation max, auth empty for Get
function ops.get()
  readKeys()
  local auth, tenant, id, gen, max = arg(), arg(), arg(), arg(), num()
  local r, found, fresh = search(), false, false
  if not r and auth == none then return {} end
  if not r then
    call('SET', E, id, 'NX')
    r = { v = version, i = id, c = scope, t = tenant, a = auth, g = gen, b = now, u = now, p = 0, dirty = true, fresh = true }
    records[id] = r
    fresh = true
  elseif auth ~= none and r.l then
    rebind(r, auth, gen)
  else
    found = true
  end
  open(r)
  local shared, used = 0, r.u
  for i, k in ipairs(marks) do
    if (ongoing or not opening and byAt >= (marksFrom[i] or 0)) and bindMark(r, k) then shared = shared + 2 ^ (i - 1) end
  end
  use(r)
  local asked = 0
  if given(endKey) and latest(r) == endKey then
    r.q = (r.q or 0) + 1
    r.dirty = true
    asked = r.q
  end
  local b = binding(r, used, shared, asked)
  b[13] = found and 1 or 0
  b[14] = owned(r)
  flush()
  if fresh then bound(r, max) end
  -- When a key is written the server forgets which clients have read it. This read lets it
  -- tell this client of the next write.
  if KEYS[2] then call('EXISTS', KEYS[2]) end
  return b
end

-- scope keys…
function ops.peek()
  readKeys()
  local r = search()
  if not r then return {} end
  return binding(r, r.u)
end

-- scope keys…
function ops.remove()
  readKeys()
  local r = search()
  if not r then return { 0 } end
  remove(r)
  return { 1, r.i }
end

-- session generation auth new-generation
function ops.move()
  local r, any = current()
  local auth, gen = arg(), arg()
  if not any then return {} end
  if r then rebind(r, auth, gen) end
  open(any)
  local b = binding(any, any.u)
  b[13] = r and 1 or 0
  flush()
  return b
end

-- session generation served
function ops.touch()
  local r = current()
  local served = arg() == '1'
  if not r or served and r.l then return {} end
  r.touched = true
  if served then
    if r.d == nil or now - r.d >= lag then r.dirty = true end
    if r.d == nil or r.dirty then r.d = now end
    r.p = nil
    if #list(r, 'e') > 0 then
      r.f = (r.f or 0) + 1
      r.dirty = true
    end
  end
  flush()
  return { r.m or none }
end

-- session generation old-memo memo
function ops.amend()
  local r, any = current()
  local old, memo = arg(), arg()
  if not any then return {} end
  local amended = 0
  if r and (r.m or none) == old then
    amended = 1
    if old ~= memo then
      if memo == none then
        r.m = nil
        call('ZREM', base .. 'M', r.i)
      else
        r.m = memo
        call('ZADD', base .. 'M', r.u + life, r.i)
        call('PEXPIRE', base .. 'M', 3 * life)
      end
      r.dirty = true
      tell(r)
    end
  end
  local b = binding(any, any.u)
  b[13] = amended
  flush()
  return b
end

-- session generation new-generation
function ops.unbind()
  local r = current()
  if not r or r.l then return { 0 } end
  lose(r, unboundCause, arg())
  flush()
  return { 1 }
end

-- session generation new-generation failed
function ops.release()
  local r = current()
  local gen, failed = arg(), arg() == '1'
  if not r or not provisional(r) or (r.p or 0) == 0 then return { 0 } end
  if failed and r.p == 1 then
    lose(r, releasedCause, gen)
    flush()
    return { 1 }
  end
  r.p = r.p - 1
  r.dirty = true
  flush()
  return { 0 }
end

-- session opening end keys marks
function ops.answer()
  local r = load(arg())
  local wasOpening, ending = arg() == '1', arg()
  local answers, given_ = keys(arg()), keys(arg())
  if not r then return { 0, 0, none } end
  scope = r.c
  local last = given(ending) and latest(r) == ending
  if wasOpening and (not last or r.r) then return { 0, 0, none } end
  if last and not r.r then
    r.r = 1
    r.dirty = true
  end
  for _, k in ipairs(answers) do bindOther(r, 'x', maxAnswers, k) end
  local shared = 0
  for i, k in ipairs(given_) do
    if bindMark(r, k) then shared = shared + 2 ^ (i - 1) end
  end
  flush()
  return { 1, shared, scope }
end

-- Notes.
local function unlinkNote(member, n)
  call('ZREM', base .. 'N' .. n.t, member)
  call('ZREM', base .. 'B' .. index(n.a), member)
end
local function note(member)
  return unpacked(call('GET', base .. 'n' .. member))
end
local function keepNote(member, n)
  local till = now + life
  call('ZADD', base .. 'N' .. n.t, till, member)
  call('ZADD', base .. 'B' .. index(n.a), till, member)
  call('PEXPIRE', base .. 'N' .. n.t, life)
  call('PEXPIRE', base .. 'B' .. index(n.a), life)
end

-- scope-and-key auth tenant seed max
function ops.remember()
  local member, auth, tenant, seed, max = arg(), arg(), arg(), arg(), num()
  call('SET', E, seed, 'NX')
  local old = note(member)
  if old then unlinkNote(member, old) end
  local n = { v = version, a = auth, t = tenant }
  keepNote(member, n)
  call('SET', base .. 'n' .. member, cmsgpack.pack(n), 'PX', life)
  local name = base .. 'N' .. tenant
  free(name)
  free(base .. 'B' .. index(auth))
  local over = max > 0 and call('ZCARD', name) - max or 0
  if over > 0 then
    for _, m in ipairs(call('ZRANGE', name, 0, math.min(over, 2 * few) - 1)) do
      local o = note(m)
      if o and m ~= member then
        unlinkNote(m, o)
        call('DEL', base .. 'n' .. m)
      elseif not o then
        call('ZREM', name, m)
      end
    end
  end
  return {}
end

-- scope-and-key
function ops.recall()
  local member = arg()
  local n = note(member)
  if not n then return {} end
  if call('PTTL', base .. 'n' .. member) <= ttl then
    keepNote(member, n)
    call('PEXPIRE', base .. 'n' .. member, life)
  end
  return { n.a }
end

-- Administration, a part at a time. The caller repeats the operation while there is more.

-- newGen returns a generation of 8 bytes, below 2^63.
local function newGen(from)
  local g = {}
  for h in string.gmatch(string.sub(redis.sha1hex(from), 1, 16), '%x%x') do g[#g + 1] = tonumber(h, 16) end
  g[1] = g[1] % 128
  return string.char(unpack(g))
end

-- auth seed max: sessions, then notes, that are bound to auth
function ops.dropauth()
  local auth, seed, max = arg(), arg(), num()
  local name = base .. 'A' .. auth
  local n, seen = 0, 0
  for _, id in ipairs(call('ZRANGE', name, 0, max - 1)) do
    seen = seen + 1
    local r = load(id)
    if r and r.l == nil and index(r.a) == auth then
      lose(r, authCause, newGen(seed .. id))
      n = n + 1
    else
      call('ZREM', name, id)
    end
  end
  flush()
  name = base .. 'B' .. auth
  for _, m in ipairs(call('ZRANGE', name, 0, max - 1)) do
    seen = seen + 1
    local o = note(m)
    if o and index(o.a) == auth then
      unlinkNote(m, o)
      call('DEL', base .. 'n' .. m)
    else
      call('ZREM', name, m)
    end
  end
  return { n, seen }
end

-- tenant auth seed cursor-of-sessions cursor-of-notes max, auth empty for all.
-- A cursor is empty when there is no more.
function ops.droptenant()
  local tenant, auth, seed, sessions, notes, max = arg(), arg(), arg(), arg(), arg(), num()
  local n = 0
  if sessions ~= none then
    local part = call('ZSCAN', base .. 'T' .. tenant, sessions, 'COUNT', max)
    sessions = part[1] ~= '0' and part[1] or none
    for i = 1, #part[2], 2 do
      local r = load(part[2][i])
      if r and auth == none then
        remove(r)
        n = n + 1
      elseif r and r.l == nil and index(r.a) == auth then
        lose(r, authCause, newGen(seed .. r.i))
        n = n + 1
      end
    end
    flush()
  end
  if notes ~= none then
    local part = call('ZSCAN', base .. 'N' .. tenant, notes, 'COUNT', max)
    notes = part[1] ~= '0' and part[1] or none
    for i = 1, #part[2], 2 do
      local m = part[2][i]
      local o = note(m)
      if o and (auth == none or index(o.a) == auth) then
        unlinkNote(m, o)
        call('DEL', base .. 'n' .. m)
      end
    end
  end
  return { n, sessions, notes }
end

-- from to max
function ops.rename()
  local from, to, max = arg(), arg(), num()
  local name = base .. 'A' .. from
  local n, seen = 0, 0
  for _, id in ipairs(call('ZRANGE', name, 0, max - 1)) do
    seen = seen + 1
    local r = load(id)
    call('ZREM', name, id)
    if r and r.l == nil and index(r.a) == from then
      r.a, r.dirty, r.linked = to, true, true
      tell(r)
      n = n + 1
    end
  end
  flush()
  name = base .. 'B' .. from
  for _, m in ipairs(call('ZRANGE', name, 0, max - 1)) do
    seen = seen + 1
    local o = note(m)
    local till = call('ZSCORE', name, m)
    call('ZREM', name, m)
    if o and index(o.a) == from then
      o.a = to
      call('ZADD', base .. 'B' .. index(to), till, m)
      call('PEXPIRE', base .. 'B' .. index(to), life)
      call('SET', base .. 'n' .. m, cmsgpack.pack(o), 'KEEPTTL')
    end
  end
  return { n, seen }
end

-- auth
function ops.count() return { call('ZCOUNT', base .. 'A' .. arg(), '(' .. now, '+inf') } end

-- cursor max: auths, each with the number of its sessions
function ops.counts()
  local part = call('ZSCAN', base .. 'L', arg(), 'COUNT', arg())
  local all = { part[1] ~= '0' and part[1] or none }
  for i = 1, #part[2], 2 do
    local n = call('ZCOUNT', base .. 'A' .. index(part[2][i]), '(' .. now, '+inf')
    if n > 0 then
      all[#all + 1] = part[2][i]
      all[#all + 1] = n
    end
  end
  return all
end

-- cursor max
function ops.memos()
  local part = call('ZSCAN', base .. 'M', arg(), 'COUNT', arg())
  local all = { part[1] ~= '0' and part[1] or none }
  for i = 1, #part[2], 2 do
    local r = load(part[2][i])
    if r and r.m then all[#all + 1] = binding(r, r.u) end
  end
  return all
end

function ops.epoch()
  call('SET', E, arg(), 'NX')
  return { call('GET', E) }
end

return ops[ARGV[1]]()
