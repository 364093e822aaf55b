#!/bin/bash
# Delay tests: by the API, by the command line, by themselves; groups that choose by them go where it is fast, and elsewhere when a node dies.
. "$(dirname "$0")/lib.sh"
need_world ss-server dnsmasq curl jq python3 tc
world_up
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns check.test=3 a.test=5
cat >"$DIR/www.py" <<'EOF'
import http.server
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_HEAD(self):
        self.send_response(302 if self.path == "/moved" else 204); self.send_header("Location", "http://nowhere.test/"); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("10.78.0.3", 80), H).serve_forever()
EOF
background "$ORG" python3 "$DIR/www.py"
proxy_ss 8388 aes-128-gcm secret-one
proxy_ss 8389 aes-128-gcm secret-one
FAST=${WORLD_PIDS[-2]}
# a slow node: what goes to port 8390 waits in a proxy of our own
cat >"$DIR/slow.py" <<'EOF'
import asyncio
async def pump(r, w, wait):
    await asyncio.sleep(wait)
    try:
        while data := await r.read(65536): w.write(data); await w.drain()
    except OSError: pass
    w.close()
async def serve(r, w):
    try: r2, w2 = await asyncio.open_connection("10.77.0.1", 8389)
    except OSError: w.close(); return
    await asyncio.gather(pump(r, w2, 0.3), pump(r2, w, 0))
async def main():
    async with await asyncio.start_server(serve, "10.77.0.1", 8390) as s: await s.serve_forever()
asyncio.run(main())
EOF
background "$MID" python3 "$DIR/slow.py"
wait_for 5 port_open "$MID" 10.77.0.1 8390 && wait_for 5 port_open "$ORG" 10.78.0.3 80 || fail "a server did not start"
node() { echo "{ name: $1, type: ss, server: 10.77.0.1, port: $2, cipher: aes-128-gcm, password: secret-one }"; }
cat >"$DIR/p.yaml" <<EOF
tun: { device: tundelay }
dns: { nameserver: [10.78.0.2] }
proxies: [ $(node dead 8999), $(node slow 8390), $(node fast 8388) ]
proxy-providers:
  more: { type: inline, payload: [ $(node inner 8388), $(node lost 8999) ], health-check: { enable: true, url: "http://check.test/", interval: 3600 } }
proxy-groups:
  - { name: Auto, type: url-test, proxies: [dead, slow, fast], url: "http://check.test/", interval: 2, lazy: false }
  - { name: Safe, type: fallback, proxies: [dead, slow, fast], url: "http://check.test/", interval: 2, lazy: false }
  - { name: Lazy, type: url-test, proxies: [dead, slow], url: "http://check.test/lazy", interval: 1 }
  - { name: Hand, type: select, proxies: [dead, fast], use: [more] }
  - { name: Turn, type: load-balance, strategy: round-robin, proxies: [dead, fast], url: "http://check.test/", interval: 2 }
rules: [ "DOMAIN,a.test,Auto", "MATCH,DIRECT" ]
EOF
api() { in_app curl -sS --max-time 20 --unix-socket "$DIR/state/shunt.sock" "${@:2}" "http://x$1"; }
code() { api "$1" -o "$DIR/answer" -w '%{http_code}' "${@:2}"; }
now() { api "/proxies/$1" | jq -r .now; }
now_is() { [ "$(now "$1")" = "$2" ]; }
URL=url=http%3A%2F%2Fcheck.test%2F
shunt_start "$DIR/p.yaml"

step "a url-test finds the fast one, a fallback the first that answers"
wait_for 15 now_is Auto fast && wait_for 5 now_is Safe slow || fail "$(now Auto), $(now Safe)"
tested() { api /proxies/slow | jq -e '.extra["http://check.test/"].history | length > 0'; }
wait_for 5 tested || fail "$(api /proxies/slow)"
api /proxies/slow | jq -e '.alive and (.extra["http://check.test/"].history[-1].delay >= 300) and (.history | length > 0)' >/dev/null || fail "$(api /proxies/slow)"
api /proxies/dead | jq -e '(.alive | not) and .extra["http://check.test/"].history[-1].delay == 0' >/dev/null || fail "$(api /proxies/dead)"
ok "fast $(api /proxies/fast | jq '.history[-1].delay') ms, slow $(api /proxies/slow | jq '.history[-1].delay') ms"
step "flows go that way"
in_app timeout 5 $PEER exchange 4 a.test 9000 10000 || fail "no traffic"
api '/shunt/flows?closed=1' | jq -e 'any(.connections[]; .metadata.host == "a.test" and .chains == ["fast", "Auto"])' >/dev/null || fail "$(api '/shunt/flows?closed=1')"
ok
step "a provider's own check"
wait_for 10 bash -c "curl -sS --unix-socket '$DIR/state/shunt.sock' http://x/providers/proxies/more/inner | jq -e '.history[-1].delay > 0'" || fail "$(api /providers/proxies/more/inner)"
[ "$(code /providers/proxies/more/healthcheck)" = 204 ] && [ "$(code /providers/proxies/none/healthcheck)" = 404 ] || fail "$(cat "$DIR/answer")"
[ "$(code /providers/proxies/Hand/healthcheck)" = 204 ] && [ "$(code "/providers/proxies/default/fast/healthcheck?$URL&timeout=3000")" = 200 ] || fail "$(cat "$DIR/answer")"
[ "$(code "/providers/proxies/more/inner/healthcheck?$URL&timeout=3000")" = 200 ] && jq -e '.delay > 0' "$DIR/answer" >/dev/null || fail "$(cat "$DIR/answer")"
ok
step "/proxies/NAME/delay"
[ "$(code "/proxies/fast/delay?$URL&timeout=3000")" = 200 ] && jq -e '.delay > 0 and .delay < 3000' "$DIR/answer" >/dev/null || fail "$(cat "$DIR/answer")"
[ "$(code "/proxies/dead/delay?$URL&timeout=3000")" = 503 ] || fail "$(cat "$DIR/answer")"
[ "$(code "/proxies/slow/delay?$URL&timeout=100")" = 504 ] || fail "$(cat "$DIR/answer")"
[ "$(code "/proxies/none/delay?$URL&timeout=100")" = 404 ] || fail "$(cat "$DIR/answer")"
for wrong in "" "&timeout=x" "&timeout=40000" "&timeout=0"; do [ "$(code "/proxies/fast/delay?$URL$wrong")" = 400 ] || fail "$wrong: $(cat "$DIR/answer")"; done
[ "$(code "/proxies/fast/delay?url=ftp%3A%2F%2Fx&timeout=100")" = 400 ] || fail "$(cat "$DIR/answer")"
ok
step "a status that is not expected is no answer; no redirect is followed"
[ "$(code "/proxies/fast/delay?${URL}moved&timeout=3000&expected=200-299")" = 503 ] && [ "$(code "/proxies/fast/delay?${URL}moved&timeout=3000&expected=302")" = 200 ] ||
    fail "$(cat "$DIR/answer")"
ok
step "a pin holds while its member is alive, and outlives a reload; a test of the group lets it go"
[ "$(code /proxies/Auto -X PUT -H 'Content-Type: application/json' -d '{"name":"slow"}')" = 204 ] && wait_for 5 now_is Auto slow || fail "$(now Auto)"
api /proxies/Auto | jq -e '.fixed == "slow"' >/dev/null || fail "$(api /proxies/Auto)"
kill -HUP "$SHUNT_PID"
wait_for 5 grep -q 'read again' "$DIR/shunt.log" && wait_for 5 now_is Auto slow || fail "$(now Auto)"
for wrong in "$URL" "$URL&timeout=0" "url=ftp%3A%2F%2Fx&expected=x&timeout=100"; do # a request that is refused changes nothing
    [ "$(code "/group/Auto/delay?$wrong")" = 400 ] && api /proxies/Auto | jq -e '.fixed == "slow"' >/dev/null || fail "$wrong: $(cat "$DIR/answer") $(api /proxies/Auto)"
done
[ "$(code "/group/Auto/delay?$URL&timeout=3000")" = 200 ] && jq -e 'keys == ["fast", "slow"]' "$DIR/answer" >/dev/null || fail "$(cat "$DIR/answer")"
wait_for 15 now_is Auto fast && ! grep -q Auto "$DIR/state/selected.json" || fail "$(now Auto), $(cat "$DIR/state/selected.json")"
[ "$(code /proxies/Auto -X PUT -H 'Content-Type: application/json' -d '{"name":"slow"}')" = 204 ] && [ "$(code /proxies/Auto -X DELETE)" = 204 ] && [ "$(code /proxies/Hand -X DELETE)" = 400 ] || fail "$(cat "$DIR/answer")"
ok
step "load-balance leaves dead members out"
for _ in 1 2 3 4; do [ "$(code "/proxies/Turn/delay?$URL&timeout=3000")" = 200 ] || fail "$(cat "$DIR/answer")"; done
ok
step "what nobody uses is not tested again (lazy)"
lazily() { api /proxies/slow | jq '.extra["http://check.test/lazy"].history | length'; }
sleep 3 # the round after the reload
n=$(lazily)
sleep 3
[ "$n" -gt 0 ] && [ "$(lazily)" = "$n" ] || fail "$n, then $(api /proxies/slow | jq -c .extra)"
ok
step "shunt delay, shunt groups"
ctl delay fast --json >"$DIR/out" && jq -e '.delay > 0' "$DIR/out" >/dev/null || fail "$(cat "$DIR/out")"
ctl delay dead 2>"$DIR/out"; [ $? = 1 ] || fail "$(cat "$DIR/out")"
ctl delay Hand >"$DIR/out" || fail "$(cat "$DIR/out")"
head -n 1 "$DIR/out" | grep -Eq '^(fast|inner) .* ms$' && grep -q '^dead .*no answer' "$DIR/out" || fail "$(cat "$DIR/out")"
ctl groups | grep -q 'fast .* ms' || fail "$(ctl groups)"
ctl delay nobody 2>"$DIR/out"; [ $? = 1 ] || fail "$(cat "$DIR/out")"
ok
step "the fast one dies: the group goes elsewhere by itself"
kill "$FAST"
wait_for 15 now_is Auto slow || fail "$(now Auto)"
in_app timeout 5 $PEER exchange 4 a.test 9000 10000 || fail "no traffic"
ok
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
