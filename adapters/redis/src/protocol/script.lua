-- keyward's exact sliding window, decided on the server.
--
-- KEYS: one for each limit; then, if guard is not 0, the key that holds the known primary.
-- ARGV: one string, little-endian: action (1 take, 2 look, 3 give back, 4 status, 5 forget):1, then
--   take, look, status: need:4 want:4 divisor:4 lease:4 (ms) guard:5 (ms, 0 for none), and for each
--               key windows:1 and, for each of its windows, length:5 (ms) limit:4 coarse:1 (0 or 1)
--   give back:  units:4, and for each key windows:1 and, for each window, length:5 era:4 stamp:6
--   forget:     nothing
-- The reply is a string of the same form:
--   take, look: result:1 (0 refused, 1 admitted; 2: closed, then until:6 now:6; 3: a key would have
--               more than 8 live windows, then key:2), and of the binding limit key:2 window:1
--               remaining:4 instant:6 (ms), then now:6 (ms) granted:4; for an admitted take then,
--               for each window, era:4 stamp:6
--   status:     result:1 (1, or 3 as above) now:6 and, for each window, used:4 instant:6
--   give back, forget: done:1 (0 or 1)
--
-- One string a window, little-endian:
--   version:1 others:1 era:4 length:5 last:6 coarse:1 first:2 used:2 room:2 gone:4 total:4
-- then its ring. A slot is a stamp (the low 32 bits of its segment's number; a segment is one
-- millisecond if precision is exact) and the number of units admitted up to and with it, modulo 2^16
-- (exact) or 2^32 (coarse). `gone` is that number before the first slot in use, `total` that of the
-- last. So the number that counts is one subtraction, whatever the limit is.
--
-- A limit's first window lies under the limit's own key. The windows of other lengths lie under that
-- key with ":" and the length in milliseconds, so in the same slot of a cluster. The first window's
-- string has their number (`others`), and the key with ":windows" lists their lengths, 5 bytes each.
-- Both live as long as any of the windows.
--
-- All numbers are integers below 2^53, so doubles hold them exactly.
local clock, slack = redis.call('TIME'), 0
local micros = clock[2] + 0
local at = clock[1] * 1000 + (micros - micros % 1000) / 1000

local call, pack, unpack = redis.call, struct.pack, struct.unpack
local HEAD, HALF, FULL = 32, 2147483648, 4294967296
local DECIDED, COUNTED = '<BI2BI4I6I6I4', '<BI2BI4I6I6I4I4I6'
local WINDOW, CHANGING = '<BBI4I5I6BI2I2I2I4I4', '<I6BI2I2I2I4I4'
local EXACT = 65535
-- A shorter string is read and written as a whole.
local SMALL = 1024
-- The number of slots of a new window.
local FEW = 6
-- The number of windows of one limit.
local MOST = 8
local asked = ARGV[1]

-- Lets a window live for `ttl`, and what names it for as long at least.
local function keep(name, key, others, ttl)
  if others == 0 then
    call('PEXPIRE', key, ttl)
  else
    if key ~= name then call('PEXPIRE', key, ttl) end
    call('PEXPIRE', name, ttl, 'GT')
    call('PEXPIRE', name .. ':windows', ttl, 'GT')
  end
end

-- The path of nearly all requests: one limit of one window, which is there or is the first. It does
-- the work of the rest of the script inline and without tables, mostly with one read and one write.
-- Rarer cases continue below, with nothing changed yet.
if #asked == 33 and #KEYS == 1 then
  local act, need, want, divisor, lease, guard, windows, span, limit, kind =
    unpack('<BI4I4I4I4I5BI5I4B', asked)
  local name, key, others = KEYS[1], KEYS[1], 0
  local data = call('GETRANGE', key, '0', '1023')
  -- Expiry is set in steps of a sixteenth of the window, and not again while it would be the same.
  local step = span < 16 and 1 or (span - span % 16) / 16
  local version, count, era, length, last, first, used, room, gone, total, idle = 0
  if data ~= '' then
    local coarse
    version, others, era, length, last, coarse, first, used, room, gone, total = unpack(WINDOW, data)
    count = others
    if others > 0 and length ~= span then
      -- The first window, if it is certainly idle and large, leaves its ring.
      if #data == SMALL and last + length + 64800000 < at then
        idle = pack(WINDOW, 2, others, (era + 1) % FULL, length, last, coarse, 0, 0, 0, 0, 0)
      end
      key, count = name .. ':' .. span, 0
      data = call('GETRANGE', key, '0', '1023')
      if data == '' then
        version = 0
      else
        version, count, era, length, last, coarse, first, used, room, gone, total = unpack(WINDOW, data)
      end
    end
    -- A window keeps its precision, unless its counts become too large for it.
    if coarse == 0 and limit > EXACT then version = 0 end
    kind = coarse
  else
    version, count, length, last = 2, 0, span, at
    first, used, room, gone, total = 0, 0, 0, 0, 0
  end
  if act == 1 and guard == 0 and windows == 1 and version == 2 and length == span
    and last - at <= span then
    local grain, form, width, modulus = 1, '<I4I2', 6, 65536
    if kind == 1 then grain, form, width, modulus = (span - span % 256) / 256 + 1, '<I4I4', 8, FULL end
    local now = at
    if last > at then now = last end
    local near, known = (last - last % grain) / grain, #data - width

    -- Past the slots that have left, if they are few.
    local out, low, oldest, upto = 0
    while out < used do
      local from = HEAD + (first + out) % room * width
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
            call('SETRANGE', key, '11', pack(CHANGING, now, kind, first, used, room, gone, total))
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
          local from = HEAD + (first + before) % room * width
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
          local from = HEAD + (first + used) % room * width
          local changing = pack(CHANGING, now, kind, first, used + 1, room, gone, total)
          if from <= 256 then
            call('SETRANGE', key, '11', changing .. data:sub(33, from) .. slot)
          else
            call('SETRANGE', key, '11', changing)
            call('SETRANGE', key, from, slot)
          end
          local set = newest * grain + grain - 1 + span
          if newest < 0 or set - set % step + step ~= expires then
            if idle then call('SET', name, idle, 'KEEPTTL') end
            keep(name, key, others, expires - at + slack)
          end
          return pack(COUNTED, 1, 0, 0, limit - after, leaves, at, need, era, number)
        elseif #data < SMALL then
          era = era or (clock[1] * 1000003 + micros + 1) % FULL
          local start = HEAD + first * width
          local larger = 2 * used
          if larger > limit then larger = limit end
          if larger <= used then larger = used + 1 end
          local ttl = expires - at + slack
          local bytes = data:sub(start + 1) .. data:sub(33, start) .. slot
          if data == '' then larger = limit < FEW and limit or FEW end
          bytes = pack(WINDOW, 2, count, era, span, now, kind, 0, used + 1, larger, gone, total)
            .. bytes .. string.rep('\0', (larger - used - 1) * width)
          if others == 0 then
            call('SET', key, bytes, 'PX', ttl)
          else
            call('SET', key, bytes, 'KEEPTTL')
            keep(name, key, others, ttl)
          end
          return pack(COUNTED, 1, 0, 0, limit - after, leaves, at, need, era, number)
        end
      end
    end
  end
end

local floor, max, min = math.floor, math.max, math.min

-- Windows

local function shaped(span, coarse)
  local w = { span = span, coarse = coarse, others = 0, era = 0, last = 0, first = 0, used = 0,
    room = 0, gone = 0, total = 0 }
  if coarse == 1 then
    w.grain, w.slot, w.width, w.modulus = floor(span / 256) + 1, '<I4I4', 8, FULL
  else
    w.grain, w.slot, w.width, w.modulus = 1, '<I4I2', 6, 65536
  end
  return w
end

-- Begins a new era. A receipt of another era gives nothing back.
local function next_era(w)
  w.era = (clock[1] * 1000003 + clock[2] + w.era + 1) % FULL
end

-- Reads the window under a key, or returns nil.
local function read(key)
  local data = call('GETRANGE', key, 0, SMALL - 1)
  if data == '' then return nil end
  if data:byte(1) ~= 2 then error('KEYWARD the value is not of this version', 0) end
  local _, others, era, span, last, coarse, start, used, room, gone, total = unpack(WINDOW, data)
  local w = shaped(span, coarse)
  w.key, w.data, w.whole, w.others, w.era = key, data, #data < SMALL, others, era
  w.last, w.first, w.used, w.room, w.gone, w.total = last, start, used, room, gone, total
  return w
end

-- Returns the bytes of so many slots from the i-th on.
local function ring(w, i, slots)
  if slots <= 0 then return '' end
  local from = (w.first + i) % w.room
  local function part(from, slots)
    local start = HEAD + from * w.width
    if w.whole then return w.data:sub(start + 1, start + slots * w.width) end
    return call('GETRANGE', w.key, start, start + slots * w.width - 1)
  end
  local straight = min(slots, w.room - from)
  local bytes = part(from, straight)
  if slots > straight then bytes = bytes .. part(0, slots - straight) end
  return bytes
end

-- Returns the segment number of the i-th slot, and its count.
local function slot(w, i)
  local low, count
  if w.whole then
    low, count = unpack(w.slot, w.data, HEAD + (w.first + i) % w.room * w.width + 1)
  else
    low, count = unpack(w.slot, ring(w, i, 1))
  end
  local near = floor(w.last / w.grain)
  return near + (low - near + HALF) % FULL - HALF, count
end

-- Returns the count before the i-th slot.
local function before(w, i)
  if i == 0 then return w.gone end
  local _, count = slot(w, i - 1)
  return count
end

-- Returns the slots from the i-th on.
local function slots(w, i)
  local bytes, near, all = ring(w, i, w.used - i), floor(w.last / w.grain), {}
  for from = 1, #bytes, w.width do
    local low, count = unpack(w.slot, bytes, from)
    all[#all + 1] = { near + (low - near + HALF) % FULL - HALF, count }
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

local function head(w)
  return pack(WINDOW, 2, w.others, w.era, w.span, w.last, w.coarse, w.first, w.used, w.room, w.gone,
    w.total)
end

local function packed(w, all)
  local parts = {}
  for i, s in ipairs(all) do parts[i] = pack(w.slot, s[1] % FULL, s[2]) end
  return table.concat(parts)
end

-- Rebuilds the string: with its present room, and these packed slots.
local function fill(w, bytes)
  w.first, w.used, w.whole, w.dirty = 0, #bytes / w.width, true, true
  w.data = head(w) .. bytes .. string.rep('\0', (w.room - w.used) * w.width)
end

local function write(w, from, bytes)
  if w.whole then
    w.data = w.data:sub(1, from) .. bytes .. w.data:sub(from + #bytes + 1)
    w.dirty = true
  else
    call('SETRANGE', w.key, from, bytes)
  end
end

local function place(w, i)
  return HEAD + (w.first + i) % w.room * w.width
end

-- Replaces the slots from the i-th on with these, which are not more.
local function rewrite(w, i, all)
  if #all > 0 then
    local bytes, from = packed(w, all), place(w, i)
    local straight = HEAD + w.room * w.width - from
    write(w, from, bytes:sub(1, straight))
    if #bytes > straight then write(w, HEAD, bytes:sub(straight + 1)) end
  end
  w.used = i + #all
  w.total = before(w, w.used)
end

-- Time

-- Returns the effective time of a request for a window of this length that last decided at `last`: a
-- clock up to one length behind counts as the latest reading. Further behind, it was set back, and
-- is followed.
local function effective(last, span)
  if at < last and last - at <= span then return last end
  return at
end

-- Returns the segment of a slot in a view. If the clock was set back, stamps after it become it, but
-- those that were ahead of the latest reading stay as far ahead.
local function seen_as(v, number)
  if v.stepped and number > v.here then return v.here + max(0, number - v.there) end
  return number
end

local function leaves(w, v, number)
  return seen_as(v, number) * w.grain + w.grain - 1 + w.span
end

-- Reads the window at this instant: how many of its slots have left, and how much counts.
local function view(w)
  local now = effective(w.last, w.span)
  local v = { now = now, stepped = now < w.last, out = 0, base = w.gone,
    here = floor(now / w.grain), there = floor(w.last / w.grain) }
  local used = w.used
  while v.out < used do
    v.oldest, v.upto = slot(w, v.out)
    if leaves(w, v, v.oldest) > now then break end
    v.out, v.base = v.out + 1, v.upto
    if v.out == 16 then
      -- Many have left.
      v.out = first(w, 16, function(i)
        local number = slot(w, i)
        return leaves(w, v, number) > now
      end)
      v.base = before(w, v.out)
      if v.out < used then v.oldest, v.upto = slot(w, v.out) end
      break
    end
  end
  v.live = (w.total - v.base) % w.modulus
  return v
end

-- Returns when the unit leaves that has `awaited` counting units before it.
local function instant(w, v, awaited)
  if v.live == 0 then return v.here * w.grain + w.grain - 1 + w.span end
  if (v.upto - v.base) % w.modulus > awaited then return leaves(w, v, v.oldest) end
  local i = first(w, v.out, function(i)
    local _, count = slot(w, i)
    return (count - v.base) % w.modulus > awaited
  end)
  local number = slot(w, i)
  return leaves(w, v, number)
end

-- Appends a slot with its count, or adds it to the newest if that is of the same segment.
local function merge(all, number, count)
  if #all > 0 and all[#all][1] == number then
    all[#all][2] = count
  else
    all[#all + 1] = { number, count }
  end
end

-- Applies a view.
local function settle(w, v)
  if w.room > 0 then w.first = (w.first + v.out) % w.room end
  w.used, w.gone = w.used - v.out, v.base
  if v.stepped then
    next_era(w)
    local from = first(w, 0, function(i) return slot(w, i) >= v.here end)
    local merged = {}
    for _, s in ipairs(slots(w, from)) do merge(merged, seen_as(v, s[1]), s[2]) end
    rewrite(w, from, merged)
  end
  w.last = v.now
end

-- Counts units in the segment of `stamp`, or in the newest segment if that is later: stamps never
-- decrease, and a stamp that is too late is safe. Returns the number of the segment.
local function push(w, limit, units, stamp)
  local number = floor(stamp / w.grain)
  local total = (w.total + units) % w.modulus
  local newest = w.used > 0 and slot(w, w.used - 1)
  w.previous = newest
  if newest and newest >= number then
    number = newest
    w.used = w.used - 1
  elseif w.used == w.room then
    local kept = ring(w, 0, w.used)
    w.room = max(w.used + 1, min(2 * w.used, limit))
    fill(w, kept)
  end
  write(w, place(w, w.used), pack(w.slot, number % FULL, total))
  w.used, w.total, w.newest = w.used + 1, total, number
  return number
end

-- Turns an exact window into a coarse one, because its counts become too large.
local function coarsen(w, limit)
  local v, coarse, all = view(w), shaped(w.span, 1), {}
  for _, s in ipairs(slots(w, v.out)) do
    merge(all, floor(seen_as(v, s[1]) / coarse.grain), (s[2] - v.base) % w.modulus)
  end
  for _, field in ipairs({ 'coarse', 'grain', 'slot', 'width', 'modulus' }) do w[field] = coarse[field] end
  next_era(w)
  w.last, w.gone, w.total, w.room = v.now, 0, v.live, max(#all, min(FEW, limit))
  fill(w, packed(w, all))
end

-- The windows of a limit

local function open(name)
  return { name = name, first = read(name) }
end

-- Returns the lengths of the windows other than the first.
local function others(book)
  local all = {}
  if book.first and book.first.others > 0 then
    local list = call('GET', book.name .. ':windows') or ''
    for from = 1, #list, 5 do all[#all + 1] = unpack('<I5', list, from) end
  end
  return all
end

-- Returns the window of this length, or nil.
local function find(book, span)
  local w = book.first
  if not w or w.span == span then return w end
  if w.others > 0 then return read(book.name .. ':' .. span) end
end

-- Returns the part of a window that is younger than `span`: its first slot, the count before it, its
-- units, and the instant of each segment, which is its last millisecond but not after the latest
-- reading of the clock. Leased permits lie ahead, and leave no earlier than their lease ends.
local function young(w, span)
  local y = { window = w, now = effective(w.last, span) }
  function y.stamp(number)
    local ends = number * w.grain + w.grain - 1
    if number * w.grain <= w.last then ends = min(ends, w.last) end
    if y.now >= w.last then return ends end
    if ends > w.last then return y.now + ends - w.last end
    return min(ends, y.now)
  end
  y.from = first(w, 0, function(i) return y.now - y.stamp(slot(w, i)) < span end)
  y.base = before(w, y.from)
  y.units = (w.total - y.base) % w.modulus
  return y
end

-- Begins a window with the newest admissions, at most its limit, of the present window that has the
-- most that are younger than its length; of equals, of the longest.
local function begin(quota, present)
  local w, all, most = shaped(quota.span, quota.coarse), {}, nil
  w.last, w.begun = at, true
  for _, other in ipairs(present) do
    local y = young(other, quota.span)
    if not most or y.units > most.units then most = y end
  end
  if most then
    local other, from, base = most.window, most.from, most.base
    local surplus = most.units - quota.limit
    if surplus > 0 then
      from = first(other, from, function(i)
        local _, count = slot(other, i)
        return (count - base) % other.modulus > surplus
      end)
      base = (base + surplus) % other.modulus
    end
    for _, s in ipairs(slots(other, from)) do
      merge(all, floor(most.stamp(s[1]) / w.grain), (s[2] - base) % other.modulus)
    end
    w.last, w.total = most.now, min(most.units, quota.limit)
  end
  next_era(w)
  w.room = max(#all, min(FEW, quota.limit))
  fill(w, packed(w, all))
  return w
end

-- Returns a window for each quota, or nil if the limit would have too many that are live. A window
-- that is not asked stays as it is, unless it is idle and its place is needed.
local function fit(book, quotas)
  local windows, missing = {}, 0
  for n, quota in ipairs(quotas) do
    local w = find(book, quota.span)
    windows[n] = w or false
    if not w then missing = missing + 1 end
  end
  if missing == 0 then return windows end

  local at_name, rest = book.first, {}
  local known, present = others(book), { book.first }
  for _, span in ipairs(known) do
    local w
    for n, quota in ipairs(quotas) do
      if quota.span == span then
        -- Known, but so long idle that its string has expired: it begins empty.
        if not windows[n] then
          windows[n], missing = begin(quota, {}), missing - 1
          windows[n].key = book.name .. ':' .. span
        end
        w = windows[n]
      end
    end
    rest[span] = w or read(book.name .. ':' .. span)
    if rest[span] and not rest[span].begun then present[#present + 1] = rest[span] end
  end
  if missing == 0 then return windows end

  local needed = {}
  for _, quota in ipairs(quotas) do needed[quota.span] = true end
  local count = (at_name and 1 or 0) + #known
  local function stays(w)
    if count + missing <= MOST then return true end
    if not w then return false end
    local v = view(w)
    return needed[w.span] or v.live > 0
  end
  local kept, dropped = {}, {}
  for _, span in ipairs(known) do
    if needed[span] or stays(rest[span]) then
      kept[#kept + 1] = span
    else
      dropped[#dropped + 1] = book.name .. ':' .. span
    end
  end
  if at_name and not stays(at_name) then at_name = nil end
  if (at_name and 1 or 0) + #kept + missing > MOST then return nil end

  table.sort(present, function(a, b) return a.span > b.span end)
  for n, quota in ipairs(quotas) do
    if not windows[n] then
      local w = begin(quota, present)
      windows[n] = w
      if at_name then
        w.key = book.name .. ':' .. quota.span
        kept[#kept + 1] = quota.span
      else
        w.key, at_name = book.name, w
        -- It takes the place of one whose string is there.
        w.replaces = book.first ~= nil
      end
    end
  end
  book.kept, book.dropped, book.begins = kept, dropped, at_name
  return windows
end

-- Returns when a window may expire whose newest segment is this: up to a sixteenth of the window after
-- it has left. So expiry need not be set with each admission.
local function expiry(w, number)
  local step = max(1, floor(w.span / 16))
  local ends = number * w.grain + w.grain - 1 + w.span
  return max(at + 1, ends - ends % step + step)
end

-- Writes a window back.
local function save(book, w, counted)
  local bytes, ttl = head(w)
  if w.begun and w.used == 0 then
    ttl = 1 + slack
  elseif w.begun or counted then
    local expires = expiry(w, w.newest or slot(w, w.used - 1))
    if w.begun or not w.previous or expiry(w, w.previous) ~= expires then
      ttl = expires - at + slack
    end
  end
  if w.whole and w.dirty then
    bytes = bytes .. w.data:sub(HEAD + 1)
    if w.begun and not w.replaces then
      call('SET', w.key, bytes, 'PX', ttl)
    else
      call('SET', w.key, bytes, 'KEEPTTL')
    end
  elseif bytes ~= w.data:sub(1, HEAD) then
    call('SETRANGE', w.key, 0, bytes)
  end
  if ttl then keep(book.name, w.key, book.count, ttl) end
end

-- Writes back the windows of a limit that were asked, and which windows it has.
local function save_all(book, windows, counted)
  if book.kept then book.begins.others = #book.kept end
  book.first = book.begins or book.first
  book.count = book.first.others
  for _, w in ipairs(windows) do save(book, w, counted) end
  if not book.kept or book.count == 0 and #book.dropped == 0 then return end
  call('SETRANGE', book.name, 1, pack('<B', book.count))
  for _, key in ipairs(book.dropped) do call('DEL', key) end
  local list = {}
  for n, span in ipairs(book.kept) do list[n] = pack('<I5', span) end
  if #list > 0 then
    call('SET', book.name .. ':windows', table.concat(list), 'PX', call('PTTL', book.name))
  else
    call('DEL', book.name .. ':windows')
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
    local book = open(KEYS[k])
    for _ = 1, take('<B') do
      local span, era, stamp = take('<I5'), take('<I4'), take('<I6')
      local w = find(book, span)
      if w and w.era == era then
        local i = first(w, 0, function(i) return slot(w, i) >= stamp end)
        local number, count
        if i < w.used then number, count = slot(w, i) end
        if number == stamp and (count - before(w, i)) % w.modulus >= units then
          local all = slots(w, i)
          for _, s in ipairs(all) do s[2] = (s[2] - units) % w.modulus end
          if all[1][2] == before(w, i) then table.remove(all, 1) end
          rewrite(w, i, all)
          save(book, w, false)
          given = 1
        end
      end
    end
  end
  return pack('<B', given)
end

if act == 5 then
  local done = 0
  for _, name in ipairs(KEYS) do
    local list = call('GET', name .. ':windows') or ''
    for from = 1, #list, 5 do call('DEL', name .. ':' .. unpack('<I5', list, from)) end
    call('DEL', name .. ':windows')
    if call('DEL', name) == 1 then done = 1 end
  end
  return pack('<B', done)
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

local seen, room, answer = {}, want, nil
local state = { pack('<BI6', 1, at) }
for k = 1, keys do
  local quotas = {}
  for n = 1, take('<B') do
    quotas[n] = { span = take('<I5'), limit = take('<I4'), coarse = take('<B') }
  end
  local book = open(KEYS[k])
  local windows = fit(book, quotas)
  if not windows then return pack('<BI2', 3, k - 1) end
  seen[k] = { book = book, windows = windows, quotas = quotas, views = {} }
  for n, w in ipairs(windows) do
    local quota = quotas[n]
    if w.coarse == 0 and quota.limit > EXACT then coarsen(w, quota.limit) end
    local v = view(w)
    seen[k].views[n] = v
    if act == 4 then
      state[#state + 1] = pack('<I4I6', v.live, v.live > 0 and instant(w, v, 0) or at)
    end
    local after = v.live + need
    local allowed = after <= quota.limit
    room = min(room, floor((quota.limit - v.live) / divisor))
    local a = {
      allowed = allowed, key = k - 1, window = n - 1,
      remaining = max(0, quota.limit - (allowed and after or v.live)),
      instant = instant(w, v, allowed and 0 or after - quota.limit - 1),
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
if act == 4 then return table.concat(state) end

local granted = answer.allowed and max(need, room) or 0
local reply = { pack(DECIDED, answer.allowed and 1 or 0, answer.key, answer.window, answer.remaining,
  answer.instant, at, granted) }
if act == 2 then return reply[1] end

for _, s in ipairs(seen) do
  -- A limit that is refused on first sight is not remembered.
  if answer.allowed or s.book.first then
    for n, w in ipairs(s.windows) do
      local v = s.views[n]
      settle(w, v)
      if answer.allowed then
        local stamp = push(w, s.quotas[n].limit, granted, v.now + lease)
        reply[#reply + 1] = pack('<I4I6', w.era, stamp)
      end
    end
    save_all(s.book, s.windows, answer.allowed)
  end
end
return table.concat(reply)
