#!/bin/bash
# The control API as dashboards use it, on the Unix socket and on external-controller with a secret; closed to web pages.
. "$(dirname "$0")/lib.sh"
need_world curl jq python3 dnsmasq
world_up
background "$ORG" python3 "$PWD/tests/net/peer.py" serve 9000
origin_dns direct.test=3
cat >"$DIR/p.yaml" <<'EOF'
external-controller: 127.0.0.1:9090
secret: a-long-enough-secret
dns: { nameserver: [10.78.0.2] }
proxies:
  - { name: "节点/1", type: socks5, server: 10.77.0.1, port: 1080 }
  - { name: two, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: top-secret-password }
proxy-groups: [ { name: Proxy, type: select, proxies: [two, "节点/1", DIRECT] } ]
rules: [ "DOMAIN,x.test,Proxy", "MATCH,DIRECT" ]
EOF
shunt_start "$DIR/p.yaml"
URL=http://127.0.0.1:9090
auth="Authorization: Bearer a-long-enough-secret"
api() { in_app curl -sS --max-time 5 -H "$auth" "$@"; }
code() { in_app curl -s -o /dev/null --max-time 5 -w '%{http_code}' "$@"; }
is() { step "$1"; shift; "$@" || fail "got: $(cat "$DIR/got" 2>/dev/null)"; ok; }
json() { api "$URL$1" >"$DIR/got" && jq -e "$2" "$DIR/got" >/dev/null; }
gives() { local want=$1; shift; code "$@" >"$DIR/got"; [ "$(cat "$DIR/got")" = "$want" ]; }

is "/version has meta" json /version '.meta == true and (.version | length > 0)'
is "/configs has mode and tun" json /configs '.mode == "rule" and .tun.enable == true and (.tun.device | length > 0)'
is "/proxies has built-ins, nodes, groups, GLOBAL" json /proxies '.proxies | .DIRECT.type == "Direct" and .two.type == "Shadowsocks" and .Proxy.type == "Selector" and .Proxy.now == "two" and (.GLOBAL.all | index("Proxy"))'
is "names in paths are percent-encoded" json "/proxies/%E8%8A%82%E7%82%B9%2F1" '.type == "Socks5"'
is "/rules in order" json /rules '[.rules[].type] == ["Domain", "Match"]'
is "... with what was counted" json /rules '.rules[0] | .index == 0 and .payload == "x.test" and .proxy == "Proxy" and .size == -1 and .extra.disabled == false and .extra.hitCount == 0'
is "PATCH /rules/disable switches one off (204)" gives 204 -H "$auth" -X PATCH -d '{"1": true, "99": true, "x": true}' $URL/rules/disable
is "... and it is so" json /rules '[.rules[].extra.disabled] == [false, true]'
is "... and back" gives 204 -H "$auth" -X PATCH -d '{"1": false}' $URL/rules/disable
is "... a body that is no object is 400" gives 400 -H "$auth" -X PATCH -d '[1]' $URL/rules/disable
is "/providers are there" json /providers/proxies '.providers | type == "object"'
is "no password anywhere" bash -c "! ip netns exec $APP curl -sS -H '$auth' $URL/proxies $URL/configs $URL/proxies/two | grep -q top-secret"
is "PUT /proxies/GROUP chooses (204)" gives 204 -H "$auth" -X PUT -H 'Content-Type: application/json' -d '{"name":"DIRECT"}' $URL/proxies/Proxy
is "... and it is so" json /proxies/Proxy '.now == "DIRECT"'
is "... and it is kept" jq -e '. == {"Proxy": "DIRECT"}' "$DIR/state/selected.json"
is "... an unknown member is 400" gives 400 -H "$auth" -X PUT -H 'Content-Type: application/json' -d '{"name":"nobody"}' $URL/proxies/Proxy
is "... an unknown group is 404" gives 404 -H "$auth" -X PUT -H 'Content-Type: application/json' -d '{"name":"DIRECT"}' $URL/proxies/Nobody
is "PATCH /configs switches the mode (204)" gives 204 -H "$auth" -X PATCH -d '{"mode":"direct"}' $URL/configs
is "... the command line sees it" test "$(ctl mode)" = direct
is "... a bad word is 400" gives 400 -H "$auth" -X PATCH -d '{"mode":"sideways"}' $URL/configs
is "... broken JSON is 400" gives 400 -H "$auth" -X PATCH -d '{"mode":' $URL/configs
ctl mode rule >/dev/null
is "... the TUN cannot be switched off: 501, and the rest is not done" gives 501 -H "$auth" -X PATCH -d '{"mode":"global","tun":{"enable":false}}' $URL/configs
[ "$(ctl mode)" = rule ] || fail "half of it was done"
is "... and why" bash -c "ip netns exec $APP curl -sS -H '$auth' -X PATCH -d '{\"tun\":{\"enable\":false}}' $URL/configs | jq -e '.message | startswith(\"tun.enable cannot change\")' >/dev/null"
is "... that it is on is no change (204)" gives 204 -H "$auth" -X PATCH -d '{"tun":{"enable":true,"stack":"system"}}' $URL/configs
is "... what is no switch is 400" gives 400 -H "$auth" -X PATCH -d '{"tun":{"enable":"off"}}' $URL/configs
step "/connections shows a live flow; DELETE ends it"
in_app python3 - <<'EOF' &
import socket, time
s = socket.create_connection(("direct.test", 9000)); s.sendall(b"U")
s.settimeout(20)
try:
    s.recv(1)
except OSError:
    pass
EOF
holder=$!
wait_for 5 json /connections '.connections | any(.metadata.host == "direct.test" and .chains == ["DIRECT"] and .metadata.network == "tcp" and (.metadata.destinationPort == "9000"))' || fail "$(cat "$DIR/got")"
id=$(jq -r '.connections[] | select(.metadata.host == "direct.test") | .id' "$DIR/got")
json /rules '.rules[1].extra | .hitCount > 0 and (.hitAt | startswith("20"))' || fail "no hit is counted: $(cat "$DIR/got")"
gives 204 -H "$auth" -X DELETE "$URL/connections/$id" || fail "DELETE"
wait_for 3 bash -c "! kill -0 $holder" || fail "the application still holds it"
ok
step "/traffic streams one object a second"
in_app timeout 3 curl -sN -H "$auth" $URL/traffic | head -n 1 | jq -e 'has("up") and has("downTotal")' >/dev/null || fail "no object"
ok
step "WebSocket with ?token=, percent-encoded as browsers do, gets frames"
in_app python3 - <<'EOF' || fail "no frame"
import json, socket
s = socket.create_connection(("127.0.0.1", 9090)); s.settimeout(4)
s.sendall(b"GET /traffic?token=a%2Dlong%2denough-secret HTTP/1.1\r\nHost: 127.0.0.1:9090\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
d = b""
while b"\r\n\r\n" not in d or len(d.split(b"\r\n\r\n", 1)[1]) < 2:
    d += s.recv(4096)
head, frame = d.split(b"\r\n\r\n", 1)
assert b" 101 " in head and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head
assert frame[0] == 0x81, frame
while len(frame) < 2 + frame[1]:
    frame += s.recv(4096)
json.loads(frame[2:2 + frame[1]])
EOF
ok
is "without the secret: 401" gives 401 $URL/version
is "wrong secret: 401" gives 401 -H "Authorization: Bearer wrong" $URL/version
is "a rebinding Host: 403" gives 403 -H "$auth" -H "Host: evil.example:9090" $URL/version
is "a foreign origin without the secret: 403 or 401" bash -c "ip netns exec $APP curl -s -o /dev/null -w '%{http_code}' -H 'Origin: https://evil.example' $URL/version | grep -qE '40[13]'"
is "a hosted dashboard with the secret: 200" gives 200 -H "$auth" -H "Origin: https://board.example" $URL/version
is "the Unix socket asks for no secret" bash -c "ip netns exec $APP curl -sS --unix-socket $DIR/state/shunt.sock http://localhost/version | jq -e .meta"
is "the Unix socket is 0600" test "$(stat -c %a "$DIR/state/shunt.sock")" = 600
is "unknown path: 404 with a message" bash -c "ip netns exec $APP curl -sS -H '$auth' $URL/nothing | jq -e '.message == \"Resource not found\"'"
step "status --json and flows --json have their fixed fields"
ctl status --json | jq -e '.version and .mode == "rule" and .pid and (.uptime_s >= 0) and .profile and .tun.device and .tun.mtu == 1500 and (.tun.addresses | length > 0) and .dns.listen and (.dns.fakeip_size > 60000) and (.controller | length > 0) and (.totals | has("up")) and (.skipped | type == "array")' >/dev/null || fail "$(ctl status --json)"
ctl flows --json | jq -e 'type == "array"' >/dev/null || fail "flows"
ok
step "explain --batch: one object a line, errors do not stop it"
printf 'tcp x.test 443\nnonsense\nudp 10.78.0.3 53 src=1.2.3.4:5\n' | ctl explain --batch | jq -s -e 'length == 3 and .[0].chain == ["Proxy", "DIRECT"] and .[0].rule.type == "DOMAIN" and (.[1] | has("error")) and .[2].action == "direct" and .[2].network == "udp"' >/dev/null || fail "explain"
ok
explained() { ctl explain --json "$1" >"$DIR/got"; jq -e "$2" "$DIR/got" >/dev/null; }
read -r fake _ < <(who x.test)
is "... of a fake address: its name decides, as it does for flows" explained "$fake:443" '.host == "x.test" and .ip == null and .rule.type == "DOMAIN" and .chain == ["Proxy", "DIRECT"]'
is "... of one without a name: it is rejected, and why" explained 198.18.200.200:443 '.action == "reject" and .ip == "198.18.200.200" and .rule == null and (.note | startswith("a fake address without a name"))'
worker=$(shunt_worker)
payload='{"path": "", "payload": "rules: [ \"MATCH,REJECT\" ]"}'
is "PUT /configs loads a payload (204); the worker lives on" gives 204 -X PUT -H "$auth" -H 'Content-Type: application/json' -d "$payload" "$URL/configs?force=true"
is "... and its rules decide" bash -c "ip netns exec $APP $SHUNT explain -d $DIR/state 192.0.2.1:80 --json | jq -e '.action == \"reject\"'"
[ "$(shunt_worker)" = "$worker" ] || fail "the worker was replaced"
is "... a broken one is 400 and says where" bash -c "ip netns exec $APP curl -sS --unix-socket $DIR/state/shunt.sock -X PUT -d '{\"payload\": \"mode: foo\"}' http://localhost/configs | jq -e '.message | startswith(\"line 1\")'"
put() { in_app curl -sS --max-time 5 -X PUT -H "$auth" -H 'Content-Type: application/json' -d "$1" "$URL/configs" >"$DIR/got"; }
put_is() { put "$1"; [ "$(jq -r "$2" "$DIR/got")" = true ]; }
all_errors='{"payload": "mode: foo\nlog-level: loud\nrules: [ \"MATCH,DIRECT\" ]\n"}'
is "... with every error and its place" put_is "$all_errors" '.errors | length == 2 and .[1].line == 2 and .[1].column == 12'
action() { in_app "$SHUNT" explain -d "$DIR/state" 192.0.2.1:80 --json | jq -r .action; }
is "an empty body reads the profile again, by TCP (204)" gives 204 -X PUT -H "$auth" -H 'Content-Type: application/json' -d '{"path": "", "payload": ""}' "$URL/configs?force=true"
[ "$(action)" = direct ] || fail "its rules do not decide"
is "... and so does no body" gives 204 -X PUT -H "$auth" "$URL/configs"
is "... and the profile's own path" gives 204 -X PUT -H "$auth" -H 'Content-Type: application/json' -d "{\"path\": \"$DIR/p.yaml\"}" "$URL/configs"
echo 'rules: [ "MATCH,REJECT" ]' >"$DIR/state/other.yaml"
chmod 644 "$DIR/state/other.yaml"
is "a path in the state directory is loaded (204)" gives 204 -X PUT -H "$auth" -H 'Content-Type: application/json' -d "{\"path\": \"$DIR/state/other.yaml\"}" "$URL/configs"
[ "$(action)" = reject ] || fail "its rules do not decide"
is "... and status names it" bash -c "ip netns exec $APP $SHUNT status -d $DIR/state --json | jq -e '.profile == \"$DIR/state/other.yaml\"'"
is "... a path elsewhere is 400" put_is '{"path": "/etc/passwd"}' '.message | startswith("path: it must lie in the state directory")'
is "... a link out of there, too" bash -c "ln -s /etc/passwd $DIR/state/link.yaml; ip netns exec $APP curl -sS --unix-socket $DIR/state/shunt.sock -X PUT -d '{\"path\": \"$DIR/state/link.yaml\"}' http://localhost/configs | jq -e '.message | startswith(\"path: \")'"
is "... a relative one, too" put_is '{"path": "p.yaml"}' '.message == "path: it must be absolute"'
is "... and what is not there" put_is "{\"path\": \"$DIR/state/none.yaml\"}" '.message | startswith("path: ")'
[ "$(action)" = reject ] || fail "a refused one changed something"
is "broken JSON is 400" gives 400 -X PUT -H "$auth" -H 'Content-Type: application/json' -d '{' "$URL/configs"
is "the profile comes back" gives 204 -X PUT -H "$auth" "$URL/configs"
step "who watches goes on watching over a reload"
in_app timeout 15 curl -sN -H "$auth" "$URL/traffic" >"$DIR/traffic" & watching=$!
wait_for 5 grep -q up "$DIR/traffic" || fail "no traffic is told"
again() { grep -c 'was read again' "$DIR/shunt.log"; }
before=$(again)
kill -HUP "$SHUNT_PID"
wait_for 5 eval '[ "$(again)" -gt $before ]' || fail "no reload"
before=$(wc -l <"$DIR/traffic")
wait_for 5 eval '[ "$(wc -l <"$DIR/traffic")" -gt $((before + 1)) ]' || fail "nothing more is told"
kill $watching 2>/dev/null
ok
step "a question that waits for a name is answered when shunt ends, and when it reloads"
ask_slowly() { in_app timeout 8 curl -sS --unix-socket "$DIR/state/shunt.sock" "http://localhost/shunt/explain?host=slow.test&port=80" >"$DIR/slow" & asked=$!; sleep 0.5; }
sed -e 's/nameserver: .*\]/nameserver: [192.0.2.55]/' -e 's/^rules:.*/rules: [ "IP-CIDR,10.0.0.0\/8,REJECT", "MATCH,DIRECT" ]/' "$DIR/p.yaml" >"$DIR/p2.yaml"
mv "$DIR/p2.yaml" "$DIR/p.yaml"
kill -HUP "$SHUNT_PID"; sleep 0.5
ask_slowly; kill -HUP "$SHUNT_PID"; wait $asked || fail "no answer at the reload"
ask_slowly
shunt_stop || fail "exit status $?"
wait $asked || fail "no answer at the end"
grep -q '"action":"direct"' "$DIR/slow" || fail "$(cat "$DIR/slow")"
! grep -q 'Fatal error' "$DIR/shunt.log" || fail "$(grep 'Fatal error' "$DIR/shunt.log")"
ok
shunt_start "$DIR/p.yaml"
is "a choice outlives a restart" json /proxies/Proxy '.now == "DIRECT"'
shunt_stop || fail "exit status $?"
mkdir -p "$DIR/state/shunt.sock/in-the-way"
shunt_start "$DIR/p.yaml"
is "where the Unix socket cannot be, external-controller still is" json /version '.meta == true'
is "... and the log says so" grep -q 'shunt.sock: .*only by external-controller' "$DIR/shunt.log"
is "... and status" bash -c "ip netns exec $APP $SHUNT status --controller $URL --secret a-long-enough-secret --json | jq -e '.controller == [\"127.0.0.1:9090\"]'"
shunt_stop || fail "exit status $?"
rm -r "$DIR/state/shunt.sock"
printf 'external-controller: 127.0.0.1:9090\nsecret: a-long-enough-secret\ntun: { enable: false }\nrules: [ "MATCH,DIRECT" ]\n' >"$DIR/off.yaml"
shunt_start "$DIR/off.yaml"
is "without a TUN /configs says so" json /configs '.tun.enable == false'
is "... it cannot be switched on (501)" gives 501 -H "$auth" -X PATCH -d '{"tun":{"enable":true}}' $URL/configs
is "... that it is off is no change (204)" gives 204 -H "$auth" -X PATCH -d '{"tun":{"enable":false}}' $URL/configs
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
! grep -q 'top-secret-password\|a-long-enough-secret' "$DIR/shunt.log" || fail "a secret is in the log"
