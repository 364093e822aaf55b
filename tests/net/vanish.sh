#!/bin/bash
# What is at the other end vanishes without a word, in mid-transfer: the application hears of it within ten seconds, whichever way its bytes went. One
# that only takes nothing for a while is waited for.
. "$(dirname "$0")/lib.sh"
need_world ss-server dnsmasq python3
world_up
origin_dns any.test=3
proxy_ss 8388 aes-128-gcm pw
cat >"$DIR/far.py" <<'EOF'
import socket, threading, time
def give(c):
    while True: c.sendall(bytes(65536))
def take(c):
    while c.recv(65536): pass
def pause(c):
    c.recv(65536)
    time.sleep(14)
    n = 65536
    while n < 32 << 20: n += len(c.recv(65536)) or 1 << 40
    c.sendall(b"all")
def serve(port, what):
    s = socket.create_server(("", port))
    while True:
        threading.Thread(target=run, args=(what, s.accept()[0]), daemon=True).start()
def run(what, c):
    try: what(c)
    except OSError: pass
for port, what in ((7001, give), (7002, take), (7003, pause)):
    threading.Thread(target=serve, args=(port, what)).start()
EOF
# near.py HOW ADDRESS: how it ended, and after how many seconds since $DIR/gone was written (or the beginning)
cat >"$DIR/near.py" <<'EOF'
import os, socket, sys, time
how, at, gone = sys.argv[1:]
s = socket.create_connection((at, {"down": 7001, "up": 7002, "pause": 7003}[how]), 5)
s.settimeout(60)
began = time.time()
try:
    if how == "pause":
        for _ in range(33 * 16): s.sendall(bytes(65536))
        print("all" if s.recv(3) == b"all" else "cut", int(time.time() - began))
        sys.exit()
    while True:
        if how == "up": s.sendall(bytes(65536))
        elif not s.recv(65536): raise OSError("end")
except OSError as e:
    print(type(e).__name__, round(time.time() - os.path.getmtime(gone), 1))
EOF
background "$ORG" python3 "$DIR/far.py"
cat >"$DIR/p.yaml" <<'EOF'
tun: { device: tunvanish }
dns: { nameserver: [10.78.0.2] }
proxies: [ { name: node, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: pw } ]
rules: [ "IP-CIDR,10.78.0.4/32,node", "MATCH,DIRECT" ]
EOF
for port in 7001 7002 7003; do wait_for 5 port_open "$ORG" 10.78.0.3 $port || fail "nobody listens on $port"; done
shunt_start "$DIR/p.yaml"

step "a peer that takes nothing for 14 seconds is waited for, DIRECT and by a node"
for at in 10.78.0.3 10.78.0.4; do in_app python3 "$DIR/near.py" pause $at "$DIR/gone" >"$DIR/pause.$at" 2>&1 & PAUSES+=" $!"; done
wait $PAUSES
for at in 10.78.0.3 10.78.0.4; do [[ "$(cat "$DIR/pause.$at")" == "all 1"* ]] || fail "$at: $(cat "$DIR/pause.$at")"; done
ok "$(cat "$DIR"/pause.* | tr '\n' ' ')"

step "one that vanishes: told within ten seconds, up and down, DIRECT and by a node"
for at in 10.78.0.3 10.78.0.4; do
    for how in up down; do in_app python3 "$DIR/near.py" $how $at "$DIR/gone" >"$DIR/end.$how.$at" 2>&1 & ENDS+=" $!"; done
done
sleep 2
touch "$DIR/gone"
in_mid nft -f - <<'EOF'
table inet gone {
    chain way {
        type filter hook prerouting priority -300;
        iifname "uplink" drop
        iifname "far" drop
    }
}
EOF
wait $ENDS
for how in up down; do
    for at in 10.78.0.3 10.78.0.4; do
        read -r what after <"$DIR/end.$how.$at"
        awk -v t="$after" 'BEGIN { exit !(t > 3 && t < 12) }' || fail "$how $at: $(cat "$DIR/end.$how.$at")"
    done
done
ok "$(cat "$DIR"/end.* | awk '{printf "%s s ", $2}')"
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
