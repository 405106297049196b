#!/bin/sh
# The way of an event with curl alone: sh curl.sh http://127.0.0.1:8500/hook
set -eu
URL=${HOOKLINE_URL:-http://127.0.0.1:8400}
RECEIVER=${1:-http://127.0.0.1:8500/hook}

call() { # METHOD PATH [JSON]
    method=$1 path=$2
    shift 2
    if [ $# -gt 0 ]; then set -- -H "Content-Type: application/json" -d "$1"; fi
    curl -sS --fail-with-body -X "$method" -H "Authorization: Bearer $HOOKLINE_KEY" "$@" "$URL$path"
    echo
}

# An event type with a JSON Schema: what breaks it is refused at publish. (Already there: fine.)
call POST /v1/event-types '{"name": "parcel.sent", "schema": {"type": "object", "required": ["parcel"]}}' || true

# A subscriber. Its secret is what its receiver verifies signatures with.
endpoint=$(call POST /v1/endpoints "{\"url\": \"$RECEIVER\", \"event_types\": [\"parcel.*\"], \"retry\": {\"schedule_s\": [1, 5]}}" |
    sed 's/.*"id":"\(ep_[0-9a-f]*\)".*/\1/')
echo "endpoint $endpoint"
call GET "/v1/endpoints/$endpoint/secret"

# An event. 202: it is stored, and so is its delivery.
call POST /v1/events '{"type": "parcel.sent", "data": {"parcel": "P-1", "to": "Lisbon"}}'

# What became of it, and the books.
sleep 1
call GET "/v1/deliveries?endpoint=$endpoint"
call GET /v1/stats
