-- keyward's exact sliding window, decided on the server.
--
-- KEYS: one for each limit; then, if guard is not 0, the key that holds the known primary.
-- ARGV: one string, little-endian: action (1 take, 2 look, 3 give back):1, then
--   take, look: need:4 want:4 divisor:4 lease:4 (ms) guard:5 (ms, 0 for none), and for each key
--               windows:1 and, for each of its windows, length:5 (ms) limit:4 coarse:1 (0 or 1)
--   give back:  units:4, and for each key era:4 windows:1 and, for each window, stamp:6
-- The reply is a string of the same form:
--   take, look: allowed:1 (0, 1; 2: closed, then until:6 now:6), and of the binding limit key:2
--               window:1 remaining:4 instant:6 (ms), then now:6 (ms) granted:4; for an admitted
--               take then, for each key, era:4 and for each window stamp:6
--   give back:  given:1 (0 or 1)
--
-- One string a key, little-endian: a head (version, number of windows, era), then for each window
--   length:5 last:6 coarse:1 first:2 used:2 room:2 gone:4 total:4
-- then their rings one after the other. A slot is a stamp (the low 32 bits of its segment's number;
-- a segment is one millisecond if precision is exact) and the number of units admitted up to and
-- with it, modulo 2^16 (exact) or 2^32 (coarse). `gone` is that number before the first slot in use,
-- `total` that of the last. So the number that counts is one subtraction, whatever the limit is.
--
-- All numbers are integers below 2^53, so doubles hold them exactly.
local clock, slack = redis.call('TIME'), 0
local micros = clock[2] + 0
local at = clock[1] * 1000 + (micros - micros % 1000) / 1000

local call, pack, unpack = redis.call, struct.pack, struct.unpack
local HEAD, WINDOW, HALF, FULL = 6, 26, 2147483648, 4294967296
local DECIDED, COUNTED = '<BI2BI4I6I6I4', '<BI2BI4I6I6I4I4I6'
local DOCUMENT, CHANGING = '<BBI4I5I6BI2I2I2I4I4', '<I6BI2I2I2I4I4'
-- A shorter string is read and written as a whole.
local SMALL = 1024
-- The number of slots of a new window.
local FEW = 6
local asked = ARGV[1]

-- The path of nearly all requests: one limit of one window, on a key that is new or whose shape has
-- not changed. It does the work of the rest of the script inline and without tables, mostly with one
-- read and one write. Rarer cases continue below, with nothing changed yet.
if #asked == 33 and #KEYS == 1 then
  local act, need, want, divisor, lease, guard, windows, span, limit, coarse =
    unpack('<BI4I4I4I4I5BI5I4B', asked)
  local key = KEYS[1]
  local data = call('GETRANGE', key, '0', '1023')
  local grain, form, width, modulus = 1, '<I4I2', 6, 65536
  if coarse == 1 then grain, form, width, modulus = (span - span % 256) / 256 + 1, '<I4I4', 8, FULL end
  -- Expiry is set in steps of a sixteenth of the window, and not again while it would be the same.
  local step = span < 16 and 1 or (span - span % 16) / 16
  local version, count, era, length, last, kind, first, used, room, gone, total = 0
  if data ~= '' then
    version, count, era, length, last, kind, first, used, room, gone, total = unpack(DOCUMENT, data)
  elseif need <= limit then
    version, count, era, length, last, kind = 1, 1, nil, span, at, coarse
    first, used, room, gone, total = 0, 0, 0, 0, 0
  end
  if act == 1 and guard == 0 and windows == 1 and version == 1 and count == 1 and length == span
    and kind == coarse and last - at <= span then
    local now = at
    if last > at then now = last end
    local near, known = (last - last % grain) / grain, #data - width

    -- Past the slots that have left, if they are few.
    local out, low, oldest, upto = 0
    while out < used do
      local from = HEAD + WINDOW + (first + out) % room * width
      if from <= known then
        low, upto = unpack(form, data, from + 1)
      else
        low, upto = unpack(form, call('GETRANGE', key, from, from + width - 1))
      end
      oldest = near + (low - near + HALF) % FULL - HALF
      if oldest * grain + grain - 1 + span > now then break end
      out, gone = out + 1, upto
      if out == 16 then break end
    end
    local live = (total - gone) % modulus
    local after = live + need
    local leaves = now - now % grain + grain - 1 + span
    if live > 0 then leaves = oldest * grain + grain - 1 + span end
    if out < 16 then
      if out > 0 then first, used = (first + out) % room, used - out end
      if after > limit then
        -- The oldest slot, unless the awaited unit is in a later one.
        if live > 0 and (upto - gone) % modulus > after - limit - 1 then
          if now ~= last or out > 0 then
            call('SETRANGE', key, '11', pack(CHANGING, now, coarse, first, used, room, gone, total))
          end
          return pack(DECIDED, 0, 0, 0, live > limit and 0 or limit - live, leaves, at, 0)
        end
      else
        if want > need then
          local part = limit - live
          part = (part - part % divisor) / divisor
          if part > want then part = want end
          if part > need then need = part end
        end
        local stamp, newest = now + lease, -1
        local number, before = (stamp - stamp % grain) / grain, used - 1
        if used == 1 then
          newest = oldest
        elseif used > 1 then
          local from = HEAD + WINDOW + (first + before) % room * width
          if from <= known then
            low = unpack(form, data, from + 1)
          else
            low = unpack(form, call('GETRANGE', key, from, from + width - 1))
          end
          newest = near + (low - near + HALF) % FULL - HALF
        end
        if newest >= number then number, used = newest, before end
        total = (total + need) % modulus
        local slot, ends = pack(form, number % FULL, total), number * grain + grain - 1 + span
        local expires = ends - ends % step + step
        if used < room then
          local from = HEAD + WINDOW + (first + used) % room * width
          local changing = pack(CHANGING, now, coarse, first, used + 1, room, gone, total)
          if from <= 256 then
            call('SETRANGE', key, '11', changing .. data:sub(33, from) .. slot)
          else
            call('SETRANGE', key, '11', changing)
            call('SETRANGE', key, from, slot)
          end
          local set = newest * grain + grain - 1 + span
          if newest < 0 or set - set % step + step ~= expires then
            call('PEXPIRE', key, expires - at + slack)
          end
          return pack(COUNTED, 1, 0, 0, limit - after, leaves, at, need, era, number)
        elseif #data < SMALL then
          era = era or (clock[1] * 1000003 + micros + 1) % FULL
          local start = HEAD + WINDOW + first * width
          local larger = 2 * used
          if larger > limit then larger = limit end
          if larger <= used then larger = used + 1 end
          if data == '' then larger = limit < FEW and limit or FEW end
          call('SET', key, pack(DOCUMENT, 1, 1, era, span, now, coarse, 0, used + 1, larger, gone, total)
            .. data:sub(start + 1) .. data:sub(33, start) .. slot
            .. string.rep('\0', (larger - used - 1) * width), 'PX', expires - at + slack)
          return pack(COUNTED, 1, 0, 0, limit - after, leaves, at, need, era, number)
        end
      end
    end
  end
end

local floor, max, min = math.floor, math.max, math.min

-- Windows

local function shaped(span, coarse)
  local w = { span = span, coarse = coarse, last = 0, first = 0, used = 0, room = 0, gone = 0,
    total = 0 }
  if coarse == 1 then
    w.grain, w.slot, w.width, w.modulus = floor(span / 256) + 1, '<I4I4', 8, FULL
  else
    w.grain, w.slot, w.width, w.modulus = 1, '<I4I2', 6, 65536
  end
  return w
end

local function place(w, i)
  return w.start + (w.first + i) % w.room * w.width
end

-- Returns the segment number of the i-th slot, and its count.
local function slot(doc, w, i)
  local from = place(w, i)
  local low, count
  if doc.whole then
    low, count = unpack(w.slot, doc.data, from + 1)
  else
    low, count = unpack(w.slot, call('GETRANGE', doc.key, from, from + w.width - 1))
  end
  local near = floor(w.last / w.grain)
  return near + (low - near + HALF) % FULL - HALF, count
end

-- Reads the whole of a string that was too long to be read at once.
local function load(doc)
  if not doc.whole then doc.data, doc.whole = call('GET', doc.key), true end
end

-- Returns the slots from the i-th on.
local function slots(doc, w, i)
  if w.used - i > 16 then load(doc) end
  local all = {}
  for j = i, w.used - 1 do
    local number, count = slot(doc, w, j)
    all[#all + 1] = { number, count }
  end
  return all
end

-- Returns the first i from `from` on for which `holds`, or `used` if there is none. Once true,
-- `holds` stays true. The search is in steps that double, because the result is mostly near.
local function first(w, from, holds)
  local low, high, step = from, from, 1
  while high < w.used and not holds(high) do
    low, high, step = high + 1, high + step, step * 2
  end
  high = min(high, w.used)
  while low < high do
    local middle = floor((low + high) / 2)
    if holds(middle) then high = middle else low = middle + 1 end
  end
  return low
end

-- Strings

local function window_head(w)
  return pack('<I5I6BI2I2I2I4I4', w.span, w.last, w.coarse, w.first, w.used, w.room, w.gone, w.total)
end

local function head(doc)
  local parts = { pack('<BBI4', 1, #doc.windows, doc.era) }
  for _, w in ipairs(doc.windows) do parts[#parts + 1] = window_head(w) end
  return table.concat(parts)
end

local function lay_out(windows)
  local start = HEAD + #windows * WINDOW
  for _, w in ipairs(windows) do
    w.start = start
    start = start + w.room * w.width
  end
end

-- Rebuilds the string: each window has its present room and the given packed slots.
local function rebuild(doc, windows, kept)
  local rings = {}
  for n, w in ipairs(windows) do
    w.first, w.used = 0, #kept[n] / w.width
    rings[n] = kept[n] .. string.rep('\0', (w.room - w.used) * w.width)
  end
  doc.windows, doc.whole, doc.dirty = windows, true, true
  lay_out(windows)
  doc.data = head(doc) .. table.concat(rings)
end

local function write(doc, from, bytes)
  if doc.whole then
    doc.data = doc.data:sub(1, from) .. bytes .. doc.data:sub(from + #bytes + 1)
    doc.dirty = true
  else
    call('SETRANGE', doc.key, from, bytes)
  end
end

local function packed(w, all)
  local parts = {}
  for i, s in ipairs(all) do parts[i] = pack(w.slot, s[1] % FULL, s[2]) end
  return table.concat(parts)
end

-- Replaces the slots from the i-th on with these, which are not more.
local function rewrite(doc, w, i, all)
  if #all > 0 then
    local bytes, from = packed(w, all), place(w, i)
    local straight = w.start + w.room * w.width - from
    write(doc, from, bytes:sub(1, straight))
    if #bytes > straight then write(doc, w.start, bytes:sub(straight + 1)) end
  end
  w.used, w.total = i + #all, w.gone
  if w.used > 0 then
    local _, count = slot(doc, w, w.used - 1)
    w.total = count
  end
end

local function open(key)
  local data = call('GETRANGE', key, 0, SMALL - 1)
  if data == '' then return { key = key, new = true, windows = {} } end
  local version, count, era = unpack('<BBI4', data)
  if version ~= 1 then error('KEYWARD the value is not of this version', 0) end
  local doc = { key = key, data = data, whole = #data < SMALL, era = era, windows = {} }
  for n = 1, count do
    local span, last, coarse, start, used, room, gone, total =
      unpack('<I5I6BI2I2I2I4I4', data, HEAD + (n - 1) * WINDOW + 1)
    local w = shaped(span, coarse)
    w.last, w.first, w.used, w.room, w.gone, w.total = last, start, used, room, gone, total
    doc.windows[n] = w
  end
  lay_out(doc.windows)
  return doc
end

-- Begins a new era. A receipt of another era gives nothing back.
local function next_era(doc)
  doc.era = (clock[1] * 1000003 + clock[2] + (doc.era or 0) + 1) % FULL
end

-- Gives the string windows for these quotas: a window of an unchanged length is kept, and a new one
-- begins with the admissions of the longest present window.
local function fit(doc, quotas)
  local have = doc.windows
  local fits = #have == #quotas
  for n, quota in ipairs(quotas) do
    local w = have[n]
    fits = fits and w.coarse == quota.coarse
      and (w.span == quota.span or #quotas == 1 and w.coarse == 0)
  end
  if fits then return end
  local longest, windows, kept = have[#have], {}, {}
  for n, quota in ipairs(quotas) do
    local w, mine = shaped(quota.span, quota.coarse), {}
    local same
    for _, other in ipairs(have) do
      if other.span == quota.span and other.coarse == quota.coarse then same = other end
    end
    if same then
      w.last, w.gone, w.total = same.last, same.gone, same.total
      mine = slots(doc, same, 0)
    elseif longest then
      w.last = longest.last
      local before, spare = longest.gone, w.modulus - 1
      local all, units = slots(doc, longest, 0), {}
      for i, s in ipairs(all) do
        units[i] = (s[2] - before) % longest.modulus
        before = s[2]
      end
      -- Newest first, if it cannot hold all.
      for i = #all, 1, -1 do
        local start = all[i][1] * longest.grain
        local stamp = start + longest.grain - 1
        -- Leased permits lie ahead, and leave no earlier than their lease ends.
        if start <= longest.last then stamp = max(start, min(stamp, longest.last)) end
        if longest.last - stamp >= quota.span then units[i] = 0 end
        units[i] = min(units[i], spare)
        spare = spare - units[i]
        all[i][1] = floor(stamp / w.grain)
      end
      local count = 0
      for i, s in ipairs(all) do
        if units[i] > 0 then
          count = count + units[i]
          if #mine > 0 and mine[#mine][1] == s[1] then
            mine[#mine][2] = count
          else
            mine[#mine + 1] = { s[1], count }
          end
        end
      end
      w.total = count
    end
    w.room = max(#mine, min(FEW, quota.limit))
    windows[n], kept[n] = w, packed(w, mine)
  end
  next_era(doc)
  rebuild(doc, windows, kept)
  doc.lengthened = true
end

-- Decisions

-- Reads the window at this instant. A clock up to one window behind counts as the latest reading.
-- Further behind, it was set back, and the window follows it: stamps after it become it, but those
-- that were ahead of the latest reading stay as far ahead.
local function view(doc, w, quota)
  local v = { now = at, stepped = false }
  if at < w.last then
    if w.last - at <= quota.span then v.now = w.last else v.stepped = true end
  end
  local here, there = floor(v.now / w.grain), floor(w.last / w.grain)
  v.here = here
  function v.number(number)
    if v.stepped and number > here then return here + max(0, number - there) end
    return number
  end
  function v.leaves(number)
    return v.number(number) * w.grain + w.grain - 1 + quota.span
  end
  local base = w.gone
  v.out = first(w, 0, function(i)
    local number, count = slot(doc, w, i)
    if v.leaves(number) > v.now then return true end
    return false
  end)
  if v.out == w.used then
    base = w.total
  elseif v.out > 0 then
    local _, count = slot(doc, w, v.out - 1)
    base = count
  end
  v.base = base
  v.live = (w.total - base) % w.modulus
  return v
end

-- Returns when the unit leaves that has `awaited` counting units before it.
local function instant(doc, w, quota, v, awaited)
  if v.live == 0 then return v.here * w.grain + w.grain - 1 + quota.span end
  local i = first(w, v.out, function(i)
    local _, count = slot(doc, w, i)
    return (count - v.base) % w.modulus > awaited
  end)
  local number = slot(doc, w, i)
  return v.leaves(number)
end

-- Applies a view.
local function settle(doc, w, quota, v)
  if w.room > 0 then w.first = (w.first + v.out) % w.room end
  w.used, w.gone = w.used - v.out, v.base
  if v.stepped then
    next_era(doc)
    local from = first(w, 0, function(i) return slot(doc, w, i) >= v.here end)
    local merged = {}
    for _, s in ipairs(slots(doc, w, from)) do
      local number = v.number(s[1])
      if #merged > 0 and merged[#merged][1] == number then
        merged[#merged][2] = s[2]
      else
        merged[#merged + 1] = { number, s[2] }
      end
    end
    rewrite(doc, w, from, merged)
  end
  if w.span ~= quota.span then doc.lengthened = true end
  w.last, w.span = v.now, quota.span
end

-- Counts units in the segment of `stamp`, or in the newest segment if that is later: stamps never
-- decrease, and a stamp that is too late is safe. Returns the number of the segment.
local function push(doc, w, quota, units, stamp)
  local number = floor(stamp / w.grain)
  local total = (w.total + units) % w.modulus
  local newest = w.used > 0 and slot(doc, w, w.used - 1)
  if newest and newest >= number then
    number = newest
    w.used = w.used - 1
  elseif w.used == w.room then
    load(doc)
    local kept = {}
    for n, other in ipairs(doc.windows) do
      local ring = doc.data:sub(other.start + 1, other.start + other.room * other.width)
      local from = other.first * other.width
      kept[n] = (ring:sub(from + 1) .. ring:sub(1, from)):sub(1, other.used * other.width)
    end
    w.room = max(w.used + 1, min(2 * w.used, quota.limit))
    rebuild(doc, doc.windows, kept)
  end
  write(doc, place(w, w.used), pack(w.slot, number % FULL, total))
  w.used, w.total = w.used + 1, total
  return number
end

-- Writes the changes back. The key lives until its newest stamp has left all windows, and for up to a
-- sixteenth of the window longer.
local function save(doc, charged)
  local bytes, expires = head(doc)
  if charged or doc.lengthened then
    local latest = at + 1
    for _, w in ipairs(doc.windows) do
      if w.used > 0 then
        local step = max(1, floor(w.span / 16))
        local ends = slot(doc, w, w.used - 1) * w.grain + w.grain - 1 + w.span
        latest = max(latest, ends - ends % step + step)
      end
    end
    expires = latest - at + slack
  end
  if doc.whole and doc.dirty then
    bytes = bytes .. doc.data:sub(#bytes + 1)
    if expires then
      call('SET', doc.key, bytes, 'PX', expires)
    else
      call('SET', doc.key, bytes, 'KEEPTTL')
    end
  else
    if bytes ~= doc.data:sub(1, #bytes) then call('SETRANGE', doc.key, 0, bytes) end
    if expires then call('PEXPIRE', doc.key, expires) end
  end
end

-- Arguments

local act, position = asked:byte(1), 2
local function take(form)
  local value
  value, position = unpack(form, asked, position)
  return value
end

if act == 3 then
  local units, given = take('<I4'), 0
  for k = 1, #KEYS do
    local era, count, stamps = take('<I4'), take('<B'), {}
    for n = 1, count do stamps[n] = take('<I6') end
    local doc = open(KEYS[k])
    if not doc.new and doc.era == era and #doc.windows == count then
      local changed = false
      for n, w in ipairs(doc.windows) do
        local i = first(w, 0, function(i) return slot(doc, w, i) >= stamps[n] end)
        local all = slots(doc, w, i)
        local before = w.gone
        if i > 0 then
          local _, count = slot(doc, w, i - 1)
          before = count
        end
        local have = #all > 0 and all[1][1] == stamps[n] and (all[1][2] - before) % w.modulus or 0
        if have >= units then
          for _, s in ipairs(all) do s[2] = (s[2] - units) % w.modulus end
          if have == units then table.remove(all, 1) end
          rewrite(doc, w, i, all)
          changed, given = true, 1
        end
      end
      if changed then save(doc, false) end
    end
  end
  return pack('<B', given)
end

local need, want, divisor, lease = take('<I4'), take('<I4'), take('<I4'), take('<I4')
local guard = take('<I5')
local keys = #KEYS
if guard > 0 then
  -- The replication id identifies a primary: it is new after each start and each promotion.
  keys = keys - 1
  local id = call('INFO', 'replication'):match('master_replid:(%x+)')
  local known, since = (call('GET', KEYS[#KEYS]) or ''):match('^(%x+):(%d+)$')
  -- A clock that was set back since then must not keep it closed.
  if known ~= id or since + 0 > at then
    since = at
    if act ~= 2 then
      call('SET', KEYS[#KEYS], id .. ':' .. string.format('%.0f', at))
    end
  end
  if at < since + guard then return pack('<BI6I6', 2, since + guard, at) end
end

local docs, seen, room, answer = {}, {}, want
for k = 1, keys do
  local quotas = {}
  for n = 1, take('<B') do
    quotas[n] = { span = take('<I5'), limit = take('<I4'), coarse = take('<B') }
  end
  local doc = open(KEYS[k])
  fit(doc, quotas)
  docs[k], seen[k] = doc, { quotas = quotas, views = {} }
  for n, w in ipairs(doc.windows) do
    local quota = quotas[n]
    local v = view(doc, w, quota)
    seen[k].views[n] = v
    local after = v.live + need
    local allowed = after <= quota.limit
    room = min(room, floor((quota.limit - v.live) / divisor))
    local a = {
      allowed = allowed, key = k - 1, window = n - 1,
      remaining = max(0, quota.limit - (allowed and after or v.live)),
      instant = instant(doc, w, quota, v, allowed and 0 or after - quota.limit - 1),
    }
    -- The one to report of two windows that must both admit.
    local binds = not answer
    if answer then
      if answer.allowed ~= allowed then
        binds = answer.allowed
      elseif allowed then
        binds = a.remaining < answer.remaining
          or a.remaining == answer.remaining and a.instant > answer.instant
      else
        binds = a.instant > answer.instant
      end
    end
    if binds then answer = a end
  end
end

local granted = answer.allowed and max(need, room) or 0
local reply = { pack(DECIDED, answer.allowed and 1 or 0, answer.key, answer.window, answer.remaining,
  answer.instant, at, granted) }
if act == 2 then return reply[1] end

for k, doc in ipairs(docs) do
  if answer.allowed then
    local stamps = {}
    for n, w in ipairs(doc.windows) do
      local quota, v = seen[k].quotas[n], seen[k].views[n]
      settle(doc, w, quota, v)
      stamps[n] = pack('<I6', push(doc, w, quota, granted, v.now + lease))
    end
    reply[#reply + 1] = pack('<I4', doc.era) .. table.concat(stamps)
    save(doc, true)
  elseif not doc.new then
    for n, w in ipairs(doc.windows) do settle(doc, w, seen[k].quotas[n], seen[k].views[n]) end
    save(doc, false)
  end
end
return table.concat(reply)
