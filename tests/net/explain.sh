#!/bin/bash
# explain: what the command line says of flows, in words, as JSON, and in batches; no network is touched.
set -u
SHUNT=${SHUNT:-$PWD/build/dev/shunt}
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT INT TERM
step() { printf '  %-72s' "$*"; }
ok() { printf ' ok\n'; }
fail() { printf ' FAILED\n%s\n' "$*" >&2; exit 1; }
command -v jq >/dev/null || { echo "skipped: needs jq"; exit 77; }

cat >"$DIR/p.yaml" <<'EOP'
hosts: { "*.known.test": 10.9.9.9, alias.test: real.test }
proxies: [ { name: node, type: ss, server: 192.0.2.1, port: 8388, cipher: aes-256-gcm, password: x } ]
proxy-groups: [ { name: Proxy, type: select, proxies: [node] } ]
rules:
  - DOMAIN,real.test,Proxy
  - SUB-RULE,(DOMAIN-SUFFIX,sub.test),list
  - IP-CIDR,10.0.0.0/8,DIRECT
  - PROCESS-PATH,/usr/bin/curl,REJECT-DROP
  - UID,1000,REJECT
  - AND,((IN-TYPE,SOCKS),(SRC-IP-CIDR,fd00::/8)),Proxy
sub-rules: { list: [ "DOMAIN,a.sub.test,Proxy", "MATCH,REJECT" ] }
EOP
explain() { "$SHUNT" explain -f "$DIR/p.yaml" -d "$DIR" "$@"; }
# batch LINE JQ-CONDITION
batch() { printf '%s\n' "$1" | explain --batch --json >"$DIR/got" && jq -e "$2" "$DIR/got" >/dev/null || fail "$1: $(cat "$DIR/got")"; }

step "a batch: one object a line, whatever is wrong with a line"
printf 'tcp real.test 443\n\nnonsense\ntcp a b\nudp a 1 colour=red\ntcp 192.0.2.7 1 uid=x\ntcp b 1' | explain --batch >"$DIR/got" || fail "exit status"
[ "$(jq -r 'if .error then "error" else .rule.index // "none" end' "$DIR/got" | tr '\n' ' ')" = "0 error error error error none " ] || fail "$(cat "$DIR/got")"
ok
step "every field is there, and no other"
batch 'tcp real.test 443' 'keys == ["action","chain","host","ip","mode","needed","network","note","outbound","port","resolved","rule"] and
    (.rule | keys) == ["index","line","payload","target","type"] and .rule.line == 5 and .chain == ["Proxy","node"] and .outbound == "node"'
ok
step "names: hosts, aliases, an address beside the name, none"
batch 'tcp x.known.test 80' '.rule.index == 2 and .ip == "10.9.9.9" and .needed == [] and .resolved == null'
batch 'tcp alias.test 80' '.rule.index == 0 and .host == "alias.test"'
batch 'tcp q.test 80 ip=10.1.2.3' '.rule.index == 2 and .needed == ["ip"] and .resolved == ["10.1.2.3"]'
batch 'tcp q.test 80' '.rule == null and .chain == ["DIRECT"] and .needed == ["ip","process"] and .resolved == null and .action == "direct"'
ok
step "a list of sub-rules: the outer index, the inner target"
batch 'tcp a.sub.test 80' '.rule == {"index":1,"line":6,"type":"SUB-RULE","payload":"(DOMAIN-SUFFIX,sub.test)","target":"Proxy"}'
batch 'tcp b.sub.test 80' '.rule.target == "REJECT" and .action == "reject"'
ok
step "programs, users, ways in, sources"
batch 'tcp 192.0.2.7 80 path=/usr/bin/curl' '.action == "reject-drop" and .needed == ["process"]'
batch 'tcp 192.0.2.7 80 process=curl' '.rule == null'
batch 'tcp 192.0.2.7 80 uid=1000' '.rule.index == 4'
batch 'tcp 192.0.2.7 80 in=SOCKS5 src=[fd00::1]:77' '.rule.index == 5'
batch 'tcp 192.0.2.7 80 in=socks src=fd00::1' '.rule.index == 5'
batch 'tcp 192.0.2.7 80 src=[fd00::1]:77' '.rule == null'
ok
step "a line longer than any buffer is one line"
{ printf 'tcp real.test 443 process='; head -c 20000 /dev/zero | tr '\0' a; echo; } | explain --batch >"$DIR/got"
[ "$(wc -l <"$DIR/got")" = 1 ] && jq -e '.rule.index == 0' "$DIR/got" >/dev/null || fail "$(head -c 300 "$DIR/got")"
ok
step "targets on the command line; a rejected one is exit status 1"
explain --json https://real.test/x 192.0.2.7:80 | jq -se '.[0].port == 443 and .[1].port == 80' >/dev/null || fail "targets"
explain --uid 1000 192.0.2.7 >"$DIR/got"; [ $? = 1 ] || fail "exit status"
grep -q 'rule     #4, line 9: UID,1000 -> REJECT' "$DIR/got" || fail "$(cat "$DIR/got")"
explain --process /usr/bin/curl 192.0.2.7 | grep -q REJECT-DROP || fail "--process"
explain --in mixed --src '[fd00::1]:7' 192.0.2.7 | grep -q '#5' || fail "--in mixed"
explain --in pigeon 192.0.2.7 2>/dev/null; [ $? = 2 ] || fail "a word that is none"
ok
