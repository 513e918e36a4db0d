-- For wrk: opens its threads' connections one thread after the other, and prints a line of JSON.
-- COMPARE_PAUSE_MS: between two threads. COMPARE_BODY: sent by POST.
local ffi = require("ffi")
ffi.cdef("int poll(void *descriptors, unsigned long count, int timeout_ms);")

local pause_ms = tonumber(os.getenv("COMPARE_PAUSE_MS") or "0")
local body = os.getenv("COMPARE_BODY") or ""
if body ~= "" then
  wrk.method = "POST"
  wrk.body = body
end

-- wrk calls this for one thread after the other, and starts each before the next is set up.
function setup(thread)
  if pause_ms > 0 then
    ffi.C.poll(nil, 0, pause_ms)
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'COMPARE {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, '
      .. '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
