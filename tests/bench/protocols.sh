#!/bin/bash
# What each protocol costs: one flow through the TUN and shunt to a real server, beside the packaged client of the same protocol, which gets the flow
# redirected by nft (no TUN), in the same run. Then whether shunt keeps what it claims: at most 1.2 CPU seconds per GB up and 1.4 down, and less than
# the packaged client.
#   tests/bench/protocols.sh [SECONDS per measurement, 5] [ROUNDS, 3]      environment: MTU (1500), SHUNT (build/release/shunt)
cd "$(dirname "$0")/../.."
SHUNT=${SHUNT:-$PWD/build/release/shunt}
. tests/net/lib.sh
. tests/bench/lib.sh
need_world ss-server ss-redir trojan v2ray iperf3 jq openssl
T=${1:-5} ROUNDS=${2:-3} MTU=${MTU:-1500}
UUID=b831381d-6324-4d53-ad4f-8cda48b30811
world_up
background "$ORG" iperf3 -s -p 5201
world_cert

# ---- servers, in mid ----
proxy_ss 8388 aes-128-gcm bench
proxy_trojan bench
proxy_vmess $UUID

# ---- packaged clients, in app: what goes to 10.78.0.7, 8 and 9 is redirected to them ----
cat >"$DIR/trojan-nat.json" <<EOF
{"run_type":"nat","local_addr":"127.0.0.1","local_port":1002,"remote_addr":"10.77.0.1","remote_port":8443,"password":["bench"],"log_level":2,
 "ssl":{"verify":false,"verify_hostname":false,"cert":"","cipher":"ECDHE-ECDSA-AES128-GCM-SHA256","cipher_tls13":"TLS_AES_128_GCM_SHA256","sni":"test.example",
 "alpn":["http/1.1"],"reuse_session":true,"session_ticket":true,"curves":""},
 "tcp":{"prefer_ipv4":false,"no_delay":true,"keep_alive":true,"reuse_port":false,"fast_open":false,"fast_open_qlen":20}}
EOF
cat >"$DIR/v2ray-redir.json" <<EOF
{"log":{"loglevel":"error"},"inbounds":[{"listen":"127.0.0.1","port":1003,"protocol":"dokodemo-door","settings":{"network":"tcp","followRedirect":true}}],
 "outbounds":[{"protocol":"vmess","settings":{"vnext":[{"address":"10.77.0.1","port":8400,"users":[{"id":"$UUID","alterId":0,"security":"aes-128-gcm"}]}]}}]}
EOF
client() { # client PORT COMMAND...: CLIENT is its process
    local port=$1; shift
    background "$APP" "$@"
    CLIENT=${WORLD_PIDS[-1]}
    wait_for 5 port_open "$APP" 127.0.0.1 "$port" || fail "$1 does not listen: $(tail "$DIR/background.log")"
}
in_app nft -f - <<'EOF'
table ip clients {
    chain out {
        type nat hook output priority -100;
        ip daddr 10.78.0.7 tcp dport 5201 redirect to :1001
        ip daddr 10.78.0.8 tcp dport 5201 redirect to :1002
        ip daddr 10.78.0.9 tcp dport 5201 redirect to :1003
    }
}
EOF
head_line "MTU $MTU, one flow"
row "kernel forwarding" 10.78.0.3
declare -A THEIR_UP THEIR_DOWN
theirs() { # theirs PROTOCOL NAME ADDRESS PORT COMMAND...
    local protocol=$1 name=$2 at=$3 port=$4; shift 4
    client "$port" "$@"
    row "$name" "$at" "$CLIENT"
    THEIR_UP[$protocol]=$CPU_UP THEIR_DOWN[$protocol]=$CPU_DOWN
    kill "$CLIENT"
}
theirs ss "ss-redir, aes-128-gcm" 10.78.0.7 1001 ss-redir -s 10.77.0.1 -p 8388 -b 127.0.0.1 -l 1001 -k bench -m aes-128-gcm
theirs trojan "trojan nat" 10.78.0.8 1002 trojan -c "$DIR/trojan-nat.json"
theirs vmess "v2ray, vmess aes-128-gcm" 10.78.0.9 1003 v2ray -config "$DIR/v2ray-redir.json"
in_app nft delete table ip clients

# ---- ours ----
cat >"$DIR/p.yaml" <<EOF
log-level: warning
tun: { device: tunbench, mtu: $MTU }
dns: { nameserver: [10.78.0.2] }
proxies:
  - { name: ss, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: bench }
  - { name: trojan, type: trojan, server: 10.77.0.1, port: 8443, password: bench, sni: test.example, fingerprint: $PIN }
  - { name: vmess, type: vmess, server: 10.77.0.1, port: 8400, uuid: $UUID, alterId: 0, cipher: aes-128-gcm }
rules: [ "IP-CIDR,10.78.0.4/32,ss,no-resolve", "IP-CIDR,10.78.0.5/32,trojan,no-resolve", "IP-CIDR,10.78.0.6/32,vmess,no-resolve", "MATCH,DIRECT" ]
EOF
shunt_start "$DIR/p.yaml"
VERDICT=0
ours() { # ours PROTOCOL ADDRESS
    row "shunt -> $1" "$2" $(shunt_pids)
    awk -v u="$CPU_UP" -v d="$CPU_DOWN" -v tu="${THEIR_UP[$1]}" -v td="${THEIR_DOWN[$1]}" 'BEGIN {
        printf "  ... of the packaged client'"'"'s CPU: %.2f up, %.2f down\n", u / tu, d / td; exit !(u <= 1.2 && d <= 1.4 && u < tu && d < td) }' && return
    VERDICT=1
    say "  ... more than 1.2 CPU-s/GB up or 1.4 down, or more than the packaged client takes"
}
ours ss 10.78.0.4
ours trojan 10.78.0.5
ours vmess 10.78.0.6
exit $VERDICT
