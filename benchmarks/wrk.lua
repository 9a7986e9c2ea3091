-- Sends the requests in the file BENCHMARK_REQUESTS: a line each, with method, path, token and body between tabs. Prints
-- the results as JSON. An answer with another status than BENCHMARK_STATUS counts as unexpected. Where a success is
-- expected, only statuses of 400 and more count as unexpected.

local expected = tonumber(os.getenv("BENCHMARK_STATUS"))
local requests = {}
local next_request = 0
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  unexpected = 0
  for line in io.lines(os.getenv("BENCHMARK_REQUESTS")) do
    local method, path, token, body = line:match("([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)")
    local headers = { ["Authorization"] = "Bearer " .. token }
    if body ~= "" then
      headers["Content-Type"] = "application/json"
    else
      body = nil
    end
    table.insert(requests, wrk.format(method, path, headers, body))
  end
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

-- wrk counts statuses of 400 and more by itself. A function for each answer would slow it down.
if expected >= 400 then
  function response(status)
    if status ~= expected then
      unexpected = unexpected + 1
    end
  end
end

function done(summary, latency)
  local failed = summary.errors.status
  if expected >= 400 then
    failed = threads[1]:get("unexpected")
  end
  local socket = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  local form = '{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "unexpected": %d, "socket": %d}'
  print(form:format(summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, failed, socket))
end
