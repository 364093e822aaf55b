#!/bin/bash
# Geo databases that are not there: a start does not wait for them, `status` tells, strict mode rejects what they could say; they are fetched once, also where only a line of a
# list needs them, come into force without a restart, and can be fetched anew.
. "$(dirname "$0")/lib.sh"
need_world dnsmasq curl jq python3
world_up
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns lists.test=3 a.test=5 b.test=6
mkdir "$DIR/www"
# site_list NAME SUFFIX: a geosite.dat with one list of one name; each is a day newer than the one before, for the server compares whole seconds
day=0
site_list() {
    python3 - "$1" "$2" <<'EOF' >"$DIR/www/new"
import sys
def field(n, b): return bytes([n << 3 | 2, len(b)]) + b
name, suffix = (s.encode() for s in sys.argv[1:])
sys.stdout.buffer.write(field(1, field(1, name) + field(2, b"\x08\x02" + field(2, suffix))))
EOF
    day=$((day + 1))
    touch -d "2020-01-01 + $day days" "$DIR/www/new"
    mv "$DIR/www/new" "$DIR/www/geosite.dat"
}
cat >"$DIR/p.yaml" <<'EOF'
tun: { device: tungeo }
dns: { nameserver: [10.78.0.2] }
geox-url: { geosite: "http://lists.test/geosite.dat", mmdb: "http://lists.test/none" }
rule-providers: { lines: { type: inline, behavior: classical, payload: [ "GEOSITE,mine" ] } }
rules: [ "RULE-SET,lines,REJECT", "GEOIP,xx,REJECT,no-resolve", "MATCH,DIRECT" ]
EOF
api() { curl -sS --max-time 40 --unix-socket "$DIR/state/shunt.sock" "${@:2}" "http://x$1"; }
connects() { in_app timeout 5 $PEER connect 4 "$1" 9000 open >/dev/null 2>&1; }
refused() { in_app timeout 5 $PEER connect 4 "$1" 9000 refused >/dev/null 2>&1; }
status_says() { in_app "$SHUNT" status -d "$DIR/state" | grep -q "$1"; }
geo() { api /shunt/providers | jq -e "any(.providers[]; .kind == \"geo\" and .name == \"$1\" and ($2))" >/dev/null; }

step "it starts without them, their rules are false, status says so"
shunt_start "$DIR/p.yaml"
connects a.test || fail "a.test"
status_says "GeoSite.dat is not in the state directory" || fail "$(in_app "$SHUNT" status -d "$DIR/state")"
status_says "the database of countries is not in the state directory" || fail "$(in_app "$SHUNT" status -d "$DIR/state")"
wait_for 10 geo geosite '.error != ""' || fail "$(api /shunt/providers)"
ok
step "one that a line of a list needs is fetched, and comes into force"
site_list MINE a.test
background "$ORG" python3 -m http.server --bind 10.78.0.3 80 -d "$DIR/www"
wait_for 5 port_open "$ORG" 10.78.0.3 80 || fail "the web server did not start"
in_app "$SHUNT" provider update geosite -d "$DIR/state" >"$DIR/out" || fail "$(cat "$DIR/out")"
wait_for 10 refused a.test || fail "not in force"
connects b.test || fail "b.test"
status_says "GeoSite.dat is not in the state directory" && fail "status still says that it is not there"
api /configs | jq -e '."geox-url"."geo-site" == "http://lists.test/geosite.dat" and ."geo-auto-update" == false and ."find-process-mode" == "strict"' >/dev/null ||
    fail "$(api /configs)"
ok "$(cat "$DIR/out")"
step "all of them anew: what there is, and an error for what there is not"
site_list MINE b.test
[ "$(api /configs/geo -X POST -o "$DIR/out" -w '%{http_code}')" = 500 ] && grep -q 404 "$DIR/out" || fail "$(cat "$DIR/out")"
wait_for 10 refused b.test && connects a.test || fail "not in force"
ok
step "after a restart it is used, and not fetched again"
shunt_stop || fail "exit status $?"
site_list MINE a.test
shunt_start "$DIR/p.yaml"
refused b.test && connects a.test || fail "not in force"
sleep 1.5
refused b.test || fail "it was fetched"
ok
step "strict mode rejects what a missing one could say"
shunt_stop || fail "exit status $?"
sed -i 's/device: tungeo/device: tungeo, strict-route: true/; s/GEOIP,xx/GEOIP,yy/' "$DIR/p.yaml"
rm "$DIR/state/GeoSite.dat" "$DIR/www/geosite.dat"
shunt_start "$DIR/p.yaml"
refused a.test && refused b.test || fail "it was let through"
status_says "are taken to reject" || fail "$(in_app "$SHUNT" status -d "$DIR/state")"
ok
shunt_stop || fail "exit status $?"
