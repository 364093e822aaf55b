#!/bin/bash
# Throughput of one flow through the TUN, both ways: plain forwarding by the kernel, then shunt DIRECT, shunt -> SOCKS5 (dante; microsocks copies 1 KiB
# at a time and ends at 0.5 Gbit/s), shunt -> ss aes-256-gcm, in the same run. Prints Gbit/s, CPU seconds per GB of shunt (both processes, user + system), the ratio
# to the kernel, and what shunt takes of memory at start and at the end.
#   tests/bench/throughput.sh [SECONDS per measurement, 5] [ROUNDS, 3]      environment: MTU (1500), SHUNT (build/release/shunt)
cd "$(dirname "$0")/../.."
SHUNT=${SHUNT:-$PWD/build/release/shunt}
. tests/net/lib.sh
. tests/bench/lib.sh
need_world ss-server danted iperf3 jq dnsmasq
T=${1:-5} ROUNDS=${2:-3} MTU=${MTU:-1500}
world_up
background "$ORG" iperf3 -s -p 5201
proxy_socks
origin_dns bench.test=3
proxy_ss 8388 aes-256-gcm bench
cat >"$DIR/p.yaml" <<EOF
log-level: warning
tun: { device: tunbench, mtu: $MTU }
dns: { nameserver: [10.78.0.2] }
proxies:
  - { name: socks, type: socks5, server: 10.77.0.1, port: 1080 }
  - { name: ss, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-256-gcm, password: bench }
rules: [ "IP-CIDR,10.78.0.4/32,socks,no-resolve", "IP-CIDR,10.78.0.5/32,ss,no-resolve", "MATCH,DIRECT" ]
EOF
memory() { # memory WHEN: of supervisor and worker
    local pid name=supervisor
    for pid in $SHUNT_PID $(shunt_worker); do
        awk -v p="$name, $1" '/^Rss/ {r = $2} /^Private/ {n += $2} END {printf "%-34s RSS %d kB, private %d kB\n", p, r, n}' "/proc/$pid/smaps_rollup"
        name=worker
    done
}
against_kernel() { # row ... and what that is of the kernel's
    row "$@"
    awk -v n="  ... as a ratio to the kernel" -v a="$UP" -v b="$DOWN" -v ku="$KERNEL_UP" -v kd="$KERNEL_DOWN" 'BEGIN {printf "%-34s %12.2f %12.2f\n", n, a / ku, b / kd}'
}

head_line "MTU $MTU, one flow"
row "kernel forwarding, no shunt" 10.78.0.3
KERNEL_UP=$UP KERNEL_DOWN=$DOWN
shunt_start "$DIR/p.yaml"
grep -o 'ready in.*' "$DIR/shunt.log"
memory "at start"
against_kernel "shunt DIRECT" 10.78.0.3 $(shunt_pids)
against_kernel "shunt -> SOCKS5" 10.78.0.4 $(shunt_pids)
against_kernel "shunt -> ss aes-256-gcm" 10.78.0.5 $(shunt_pids)
memory "at the end"
