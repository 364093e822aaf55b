#!/bin/bash
# Rule and proxy providers by HTTP: fetched through the engine, in force without a restart, refreshed on demand; the server's mistakes change nothing; what a stranger's
# profile may not fetch.
. "$(dirname "$0")/lib.sh"
need_world ss-server dnsmasq curl jq python3
world_up
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns lists.test=3 a.test=5 b.test=5 c.test=5 node.test=4
proxy_ss 8388 aes-128-gcm secret-one
# a web server whose answers are files in $DIR/www: NAME is the body, NAME.status and NAME.to say otherwise; it writes down who asks
mkdir "$DIR/www"
cat >"$DIR/www.py" <<'EOF'
import hashlib, http.server, os, sys
base = sys.argv[1]
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        f = base + self.path
        def side(ext): return open(f + ext).read().strip() if os.path.exists(f + ext) else None
        with open(base + ".log", "a") as log: log.write(f"{self.client_address[0]} {self.path} {self.headers.get('User-Agent')} {self.headers.get('If-None-Match')}\n")
        if side(".to"):
            self.send_response(302); self.send_header("Location", side(".to")); self.send_header("Content-Length", "0"); self.end_headers(); return
        body = open(f, "rb").read() if os.path.exists(f) else b"payload:\n- lost.test\n"
        tag = '"' + hashlib.md5(body).hexdigest() + '"'
        if self.headers.get("If-None-Match") == tag and not side(".status"):
            self.send_response(304); self.end_headers(); return
        self.send_response(int(side(".status") or (200 if os.path.exists(f) else 404)))
        self.send_header("ETag", tag); self.send_header("Content-Length", str(len(body))); self.send_header("Subscription-Userinfo", "upload=1; download=2; total=1000; expire=1893456000")
        self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("10.78.0.3", 80), H).serve_forever()
EOF
background "$ORG" python3 "$DIR/www.py" "$DIR/www"
printf 'a.test\n' >"$DIR/www/ads"
printf 'payload:\n- 10.78.0.7/32\n' >"$DIR/www/nets"
printf 'proxies:\n- {name: n1, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: secret-one, udp: true}\n' >"$DIR/www/nodes"
wait_for 5 port_open "$ORG" 10.78.0.3 80 || fail "the web server did not start"
cat >"$DIR/p.yaml" <<'EOF'
tun: { device: tunprov }
dns: { nameserver: [10.78.0.2] }
proxies: [ { name: ss, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: secret-one } ]
proxy-providers:
  nodes: { type: http, url: "http://lists.test/nodes", path: ./nodes.yaml, interval: 3600, header: { User-Agent: [tester/1] } }
proxy-groups: [ { name: Far, type: select, use: [nodes] } ]
rule-providers:
  ads: { type: http, behavior: domain, format: text, url: "http://lists.test/ads", interval: 86400 }
  nets: { type: http, behavior: ipcidr, url: "http://lists.test/nets", path: nets.yaml, proxy: ss }
  mine: { type: file, behavior: domain, format: text, path: mine.txt }
  here: { type: inline, behavior: classical, payload: [ "DOMAIN,inline.test" ] }
rules:
  - RULE-SET,ads,REJECT
  - RULE-SET,nets,REJECT,no-resolve
  - RULE-SET,mine,REJECT
  - RULE-SET,here,REJECT
  - DOMAIN,node.test,Far
  - MATCH,DIRECT
EOF
api() { curl -sS --max-time 40 --unix-socket "$DIR/state/shunt.sock" "${@:2}" "http://x$1"; }
refreshed() { api "/providers/$1" -X PUT -o "$DIR/answer" -w '%{http_code}'; }
connects() { in_app timeout 5 $PEER connect 4 "$1" 9000 open >/dev/null 2>&1; }
refused() { in_app timeout 5 $PEER connect 4 "$1" 9000 refused >/dev/null 2>&1; }
rule_provider() { api /providers/rules | jq -r ".providers.$1.$2"; }
web_down() { in_org nft 'add table inet down; add chain inet down in { type filter hook input priority 0; }; add rule inet down in tcp dport 80 drop'; }
web_up() { in_org nft delete table inet down; }
mkdir -p "$DIR/state"

step "it starts with nothing there, and fills itself"
shunt_start "$DIR/p.yaml"
wait_for 10 refused a.test || fail "ads are not in force"
wait_for 10 refused 10.78.0.7 || fail "nets are not in force"
connects b.test || fail "b.test"
[ "$(rule_provider ads ruleCount)" = 1 ] && [ "$(rule_provider ads vehicleType)" = HTTP ] && [ "$(rule_provider here ruleCount)" = 1 ] || fail "$(api /providers/rules)"
ok
step "the nodes of a proxy provider carry traffic, and its account is shown"
wait_for 10 in_app timeout 5 $PEER exchange 4 node.test 9000 10000 || fail "no traffic through n1"
api /providers/proxies | jq -e '.providers.nodes | .proxies[0].name == "n1" and .subscriptionInfo.Total == 1000 and .subscriptionInfo.Expire == 1893456000' >/dev/null ||
    fail "$(api /providers/proxies)"
grep -q 'nodes tester/1 ' "$DIR/www.log" || fail "$(cat "$DIR/www.log")"
ok
step "a download goes by its \`proxy\`"
grep -q 'shunt -> lists.test:80 | - | ss |' "$DIR/shunt.log" && grep -q '/nets clash.meta' "$DIR/www.log" || fail "$(cat "$DIR/www.log")"
ok
step "new content is in force after a refresh, flows live on"
in_app timeout 20 $PEER exchange 4 b.test 9000 20000000 & exchange=$!
exchanging() { api /connections | jq -e 'any(.connections[]; .metadata.host == "b.test")'; }
wait_for 5 exchanging || fail "no flow"
printf 'a.test\n+.b.test\n' >"$DIR/www/ads"
[ "$(refreshed rules/ads)" = 204 ] || fail "$(cat "$DIR/answer")"
wait_for 5 refused b.test || fail "not in force"
[ "$(rule_provider ads ruleCount)" = 2 ] || fail "$(rule_provider ads ruleCount)"
wait $exchange || fail "the flow before was cut"
ok
step "downloads are flows of ours"
api '/shunt/flows?closed=1' >"$DIR/flows"
jq -e 'any(.connections[]; .metadata.type == "Inner" and .metadata.host == "lists.test" and .chains[0] == "DIRECT")' "$DIR/flows" >/dev/null || fail "$(cat "$DIR/flows")"
ok
step "the same again: the server says so, nothing changes"
[ "$(refreshed rules/ads)" = 204 ] && tail -n 1 "$DIR/www.log" | grep -q '/ads clash.meta.* "' || fail "$(tail -n 1 "$DIR/www.log")"
[ ! -e "$DIR/state/rules/"*.2 ] || fail "it was stored again"
ok
for wrong in "status 404:404" "html:<html><body>log in</body></html>" "nothing:# nothing" "status 500:500"; do
    step "a server that answers wrongly: ${wrong%%:*}"
    case $wrong in status*) echo "${wrong##*:}" >"$DIR/www/ads.status" ;; *) echo "${wrong#*:}" >"$DIR/www/ads" ;; esac
    [ "$(refreshed rules/ads)" = 503 ] || fail "not an error"
    rm -f "$DIR/www/ads.status"; printf 'a.test\n+.b.test\n' >"$DIR/www/ads"
    refused b.test && refused a.test || fail "the rules are gone"
    ok "$(jq -r .message "$DIR/answer")"
done
step "reloads while the nodes are being built anew"
for round in 1 2 3 4; do
    { printf 'proxies:\n- {name: n1, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: secret-one, udp: true}\n'
      seq "$((round * 1000))" | sed 's/.*/- {name: n-&, type: ss, server: 10.77.0.1, port: 1, cipher: aes-128-gcm, password: x}/'; } >"$DIR/www/nodes"
    [ "$(refreshed proxies/nodes)" = 204 ] || fail "$(cat "$DIR/answer")"
    for pause in 0.3 0.1 0.1 0.1; do sleep $pause; kill -HUP "$SHUNT_PID"; done
done
wait_for 20 eval 'api /shunt/providers | jq -e "any(.providers[]; .name == \"nodes\" and .entries == 4001)"' || fail "$(api /shunt/providers)"
in_app timeout 5 $PEER exchange 4 node.test 9000 10000 || fail "no traffic through n1"
sed -i 3,\$d "$DIR/www/nodes"
[ "$(refreshed proxies/nodes)" = 204 ] && wait_for 20 eval '[ "$(api /providers/proxies | jq ".providers.nodes.proxies | length")" = 1 ]' || fail "$(cat "$DIR/answer")"
ok
step "the user's file comes into force when it is written"
connects c.test || fail "c.test"
printf 'c.test\n' >"$DIR/state/mine.txt"; chmod 644 "$DIR/state/mine.txt"
wait_for 15 refused c.test || fail "not in force"
ok
step "names that are not there"
[ "$(refreshed rules/none)" = 404 ] && [ "$(refreshed proxies/none)" = 404 ] && [ "$(refreshed rules/here)" = 204 ] || fail "$(cat "$DIR/answer")"
ok
step "\`shunt provider\` lists them: entries, size, age, account"
provider() { in_app "$SHUNT" provider "$@" -d "$DIR/state"; }
provider list --json >"$DIR/list" || fail "exit status $?"
jq -e 'any(.kind == "rules" and .name == "ads" and .entries == 2 and .bytes == 16 and .updated > 1700000000 and .from == "http")
   and any(.kind == "proxies" and .name == "nodes" and .entries == 1 and .subscriptionInfo.Total == 1000)' "$DIR/list" >/dev/null || fail "$(cat "$DIR/list")"
provider >"$DIR/list" && grep -Eq '^rules  ads +http +2 +16B +[0-9]+s$' "$DIR/list" && grep -q '3B used of 1.0K (0%), until 2030-01-01' "$DIR/list" || fail "$(cat "$DIR/list")"
ok
step "\`shunt provider update\` fetches, and says what comes of it"
provider update ads nodes >"$DIR/list" && grep -Eq '^\[1/2\] .*: done, .* s$' "$DIR/list" && grep -q '^\[2/2\] .*done' "$DIR/list" || fail "$(cat "$DIR/list")"
echo 403 >"$DIR/www/nets.status"
provider update --json >"$DIR/list"; [ $? = 1 ] || fail "exit status"
jq -se 'length == 3 and all(.ok == (.name != "nets")) and any(.name == "nets" and (.error | test("403")))' "$DIR/list" >/dev/null || fail "$(cat "$DIR/list")"
provider | grep -q '403' || fail "the list does not tell"
rm "$DIR/www/nets.status"
provider update nets none 2>"$DIR/list" && fail "exit status 0"
grep -q 'no provider "none"' "$DIR/list" || fail "$(cat "$DIR/list")"
ok
step "a restart without the network: what is stored is in force"
shunt_stop || fail "exit status $?"
web_down
shunt_start "$DIR/p.yaml"
refused a.test && refused b.test && refused 10.78.0.7 && refused c.test || fail "not in force"
web_up
ok
step "a stored file that is broken is set aside, the copy before it is used"
shunt_stop || fail "exit status $?"
file=$DIR/state/rules/$(ls "$DIR/state/rules" | grep -v '\.')
printf '<html>' >"$file"
web_down
shunt_start "$DIR/p.yaml"
refused a.test || fail "not in force"
[ -e "$file.bad" ] || fail "$(ls "$DIR/state/rules")"
web_up
ok
step "a stranger's profile fetches nothing from private addresses"
jq -Rs '{payload: .}' <"$DIR/p.yaml" >"$DIR/payload"
sed -i 's/ads: { type: http/ads: { proxy: DIRECT, type: http/' "$DIR/p.yaml"
jq -Rs '{payload: .}' <"$DIR/p.yaml" >"$DIR/payload"
[ "$(api /configs -X PUT -H 'Content-Type: application/json' --data-binary "@$DIR/payload" -o "$DIR/answer" -w '%{http_code}')" = 204 ] || fail "$(cat "$DIR/answer")"
before=$(wc -l <"$DIR/www.log")
[ "$(refreshed rules/ads)" = 503 ] || fail "it was fetched"
[ "$(wc -l <"$DIR/www.log")" = "$before" ] || fail "it was asked"
ok "$(jq -r .message "$DIR/answer")"
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
