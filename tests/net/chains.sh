#!/bin/bash
# Nodes behind nodes, with real servers: dialer-proxy and relay, two to four deep, every one of another protocol; TCP with checksums, datagrams where
# the first of them carries them. What reaches the wire must be the first node's protocol to the first server, and nothing else.
#
#   app ──► shunt ──(ss)──► mid ──(socks5)──► mid ──(trojan)──► mid ──(vmess)──► mid ──► org
. "$(dirname "$0")/lib.sh"
need_world ss-server danted trojan v2ray python3 openssl jq
world_up
UUID=b831381d-6324-4d53-ad4f-8cda48b30811
world_cert
background "$ORG" python3 "$PWD/tests/net/peer.py" serve 9000
proxy_ss 8388 aes-128-gcm pw
# dante as elsewhere, but on every interface: its clients are other servers
cat >"$DIR/danted.conf" <<EOF
logoutput: $DIR/danted.log
internal: 10.77.0.1 port = 1080
external: far
external: uplink
clientmethod: none
socksmethod: none
user.unprivileged: nobody
external.rotation: route
client pass { from: 0/0 to: 0/0 }
socks pass { from: 0/0 to: 0/0 command: connect udpassociate }
socks pass { from: 0/0 to: 0/0 command: udpreply }
EOF
background "$MID" danted -f "$DIR/danted.conf"
proxy_trojan pw
proxy_vmess $UUID
wait_for 5 port_open "$MID" 10.77.0.1 1080 || fail "danted did not start: $(tail "$DIR/danted.log")"

ss="type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: pw, udp: true"
socks="type: socks5, server: 10.77.0.1, port: 1080, udp: true"
trojan="type: trojan, server: 10.77.0.1, port: 8443, password: pw, sni: test.example, fingerprint: $PIN, udp: true"
vmess="type: vmess, server: 10.77.0.1, port: 8400, uuid: $UUID, alterId: 0, cipher: auto, udp: true"
cat >"$DIR/p.yaml" <<EOF
dns: { nameserver: [10.78.0.2] }
proxies:
  - { name: ss, $ss }
  - { name: socks, $socks }
  - { name: trojan, $trojan }
  - { name: vmess, $vmess }
  - { name: socks-ss, $socks, dialer-proxy: ss }
  - { name: trojan-socks-ss, $trojan, dialer-proxy: socks-ss }
  - { name: vmess-trojan-socks-ss, $vmess, dialer-proxy: trojan-socks-ss }
  - { name: ss-trojan, $ss, dialer-proxy: trojan }
  - { name: trojan-group, $trojan, dialer-proxy: pick }
proxy-groups:
  - { name: pick, type: select, proxies: [vmess, ss] }
  - { name: relay2, type: relay, proxies: [trojan, ss] }
  - { name: relay4, type: relay, proxies: [ss, trojan, vmess, socks] }
rules:
EOF
ways="socks-ss trojan-socks-ss vmess-trojan-socks-ss ss-trojan trojan-group relay2 relay4"
first=(8388 8388 8388 8443 8400 8443 8388) # of which server the wire must know
n=2
for way in $ways; do echo "  - IP-CIDR,10.78.0.$n/32,$way,no-resolve"; n=$((n + 1)); done >>"$DIR/p.yaml"
echo "  - MATCH,REJECT" >>"$DIR/p.yaml"
in_mid nft -f - <<'EOF'
table inet seen {
    set ports { type inet_service; flags dynamic; }
    chain in { type filter hook input priority 0; iifname uplink ip saddr 10.77.0.2 meta l4proto { tcp, udp } add @ports { th dport }; }
}
EOF
shunt_start "$DIR/p.yaml"
peer() { in_app timeout 60 python3 "$PWD/tests/net/peer.py" "$@"; }
n=2
for way in $ways; do
    in_mid nft flush set inet seen ports
    step "$way: 2 MB each way"
    peer exchange 4 10.78.0.$n 9000 2000000 >"$DIR/out" 2>&1 || fail "$(cat "$DIR/out")"
    ok
    step "$way: only port ${first[$((n - 2))]} on the wire"
    [ "$(in_mid nft -j list set inet seen ports | jq -c '[.nftables[].set.elem // empty] | flatten')" = "[${first[$((n - 2))]}]" ] || fail "$(in_mid nft list set inet seen ports)"
    ok
    step "$way: datagrams"
    peer udp 4 10.78.0.$n 9000 >"$DIR/out" 2>&1 || fail "$(cat "$DIR/out")"
    ok
    n=$((n + 1))
done
step "the chain is in the log, first to last"
grep -q '| relay4 > ' "$DIR/shunt.log" || fail "it is not"
ok
