#!/bin/bash
# What can be wrong with a node, each told apart - in the log (once), by `status`, and by the control API - with what to check.
#
#   app ──curl 10.78.0.N──► shunt ──► a node for each N, every one wrong in its own way ──► servers in mid
. "$(dirname "$0")/lib.sh"
need_world ss-server trojan v2ray curl jq python3 openssl
ORACLE=${SHUNT_ORACLE:-$PWD/../shared/reference/protocols/oracle}
[ -d "$ORACLE" ] || ORACLE=$PWD/../../shared/reference/protocols/oracle
python3 -c 'import cryptography' 2>/dev/null || PATH=/usr/bin:$PATH
world_up
UUID=b831381d-6324-4d53-ad4f-8cda48b30811
K16=$(head -c 16 /dev/urandom | base64 -w0)
world_cert

# ---- the origin, and servers that are as they should be ----
servers() { # servers NAMESPACE ADDRESS FIRST LAST ANSWER: each of these ports answers anything with that, and hangs up
    background "$1" python3 -c '
import socketserver, sys, threading
class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(65536)
        self.request.sendall(("HTTP/1.1 " + sys.argv[4] + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").encode())
for port in range(int(sys.argv[2]), int(sys.argv[3]) + 1):
    threading.Thread(target=socketserver.ThreadingTCPServer((sys.argv[1], port), Answer).serve_forever).start()
' "${@:2}"
    wait_for 5 port_open "$1" "$2" "$4" || fail "nobody answers on $2"
}
servers "$ORG" 10.78.0.3 8000 8020 "200 OK"
servers "$MID" 10.77.0.1 8080 8080 "400 Bad Request"
proxy_ss 8388 aes-128-gcm right
proxy_trojan right 10.77.0.1 8080
proxy_vmess $UUID

# ---- and those that are not ----
background "$MID" python3 -c '
import select, socket
early = socket.create_server(("10.77.0.1", 9001))  # closes at once
mute = socket.create_server(("10.77.0.1", 9002))   # never says a word
kept = []
while True:
    for s in select.select([early, mute], [], [])[0]:
        c, _ = s.accept()
        c.close() if s is early else kept.append(c)
'
if [ -e "$ORACLE/ss.py" ]; then # its clock is ten minutes ahead, and it does not mind ours (-O: no assertions)
    background "$MID" python3 -O -c 'import runpy, sys, time
now = time.time
time.time = lambda: now() + 600
sys.path.insert(0, sys.argv[1])
sys.argv = ["ss.py", "serve", "9003", "2022-blake3-aes-128-gcm", sys.argv[2]]
runpy.run_path(sys.path[0] + "/ss.py", run_name="__main__")' "$ORACLE" "$K16"
    # it listens on loopback only
    background "$MID" socat TCP-LISTEN:9003,bind=10.77.0.1,fork,reuseaddr TCP:127.0.0.1:9003
fi
for port in 8080 8443 8400 9001 9002; do wait_for 5 port_open "$MID" 10.77.0.1 $port || fail "nobody listens on $port: $(tail "$DIR/background.log")"; done

vmess="type: vmess, alterId: 0, cipher: auto"
cat >"$DIR/p.yaml" <<EOF
dns: { nameserver: [10.78.0.2] }
external-controller: 127.0.0.1:9090
tls: { custom-certifactes: [ "$(awk '{printf "%s\\n", $0}' "$DIR/cert.pem")" ] }
proxies:
  - { name: right, server: 10.77.0.1, port: 8388, type: ss, cipher: aes-128-gcm, password: right }
  - { name: rightful, server: 10.77.0.1, port: 8443, type: trojan, password: right, sni: test.example }
  - { name: password, server: 10.77.0.1, port: 8388, type: ss, cipher: aes-128-gcm, password: wrong }
  - { name: uuid, server: 10.77.0.1, port: 8400, $vmess, uuid: 00000000-0000-4000-8000-000000000000 }
  - { name: clock, server: 10.77.0.1, port: 9003, type: ss, cipher: 2022-blake3-aes-128-gcm, password: "$K16" }
  - { name: sni, server: 10.77.0.1, port: 8443, type: trojan, password: right, sni: other.example }
  - { name: trojan-password, server: 10.77.0.1, port: 8443, type: trojan, password: wrong, sni: test.example }
  - { name: dead, server: 10.77.0.1, port: 9, type: ss, cipher: aes-128-gcm, password: right }
  - { name: nowhere, server: 10.77.0.99, port: 8388, type: ss, cipher: aes-128-gcm, password: right }
  - { name: early, server: 10.77.0.1, port: 9001, type: vless, uuid: $UUID }
  - { name: mute, server: 10.77.0.1, port: 9002, type: socks5 }
  - { name: plain, server: 10.77.0.1, port: 8080, type: trojan, password: right, sni: test.example }
  - { name: path, server: 10.77.0.1, port: 8080, $vmess, uuid: $UUID, network: ws, ws-opts: { path: /nobody } }
rules:
EOF
# node, its port at the origin's address (so that a flow tells which node is meant), what is said of it
troubles="password|sent data, never got an answer: check password
uuid|sent data, never got an answer: check password or uuid
clock|the server's clock and this machine's differ too much: set the clock
sni|the server's certificate is made for another name: check sni
trojan-password|authentication failed: check password
dead|Connection refused: nobody listens there
nowhere|No route to host: there is no way to it
early|the server hung up before its first word: check password
mute|the server takes connections and says nothing: check port
plain|the server does not speak TLS: check tls and port
path|the server's HTTP answer means no"
[ -e "$ORACLE/ss.py" ] || troubles=$(grep -v '^clock' <<<"$troubles")
n=8000
{ for name in right rightful $(cut -d'|' -f1 <<<"$troubles"); do echo "  - AND,((NETWORK,tcp),(DST-PORT,$n)),$name"; n=$((n + 1)); done; echo "  - MATCH,DIRECT"; } >>"$DIR/p.yaml"
shunt_start "$DIR/p.yaml"

ask() { in_app curl -s -o /dev/null --max-time "$2" "http://10.78.0.3:$1/"; }
mumble() { in_app timeout "$2" bash -c "exec 3<>/dev/tcp/10.78.0.3/$1; printf '\\x16\\x03\\x01' >&3; cat <&3 >/dev/null"; } # not HTTP: whoever answers in HTTP is not whom it means
step "the right nodes carry a request"
ask 8000 5 || fail "curl: $?"
ask 8001 5 || fail "curl: $?"
ok
n=8002 jobs=()
for name in $(cut -d'|' -f1 <<<"$troubles"); do
    limit=3; [ "$name" = mute ] && limit=15; [ "$name" = nowhere ] && limit=10
    if [ "$name" = trojan-password ]; then mumble $n $limit & else ask $n $limit & fi
    jobs+=($!); n=$((n + 1))
done
wait "${jobs[@]}"
ctl status >"$DIR/status"; ctl status --json >"$DIR/status.json"
while IFS='|' read -r name words; do
    step "$name: $words"
    wait_for 12 grep -qF " $name: $words" "$DIR/shunt.log" # a program that hung up may have ended its direction only
    [ "$(grep -cF " $name: $words" "$DIR/shunt.log")" = 1 ] || fail "the log says: $(grep "  $name: " "$DIR/shunt.log")"
    [ "$(grep -c "warn .* $name: " "$DIR/shunt.log")" = 1 ] || fail "the log says more: $(grep " $name: " "$DIR/shunt.log")"
    wait_for 3 bash -c "ip netns exec $APP $SHUNT status -d $DIR/state | grep -qF \" $name: $words\"" || fail "$(cat "$DIR/status")"
    in_app curl -sS "http://127.0.0.1:9090/proxies/$name" | jq -e --arg w "$words" '.trouble | startswith($w)' >/dev/null || fail "$(in_app curl -sS "http://127.0.0.1:9090/proxies/$name")"
    ok
done <<<"$troubles"
step "what an HTTP answer said is in the log"
grep -qE " path: .* \(status 400: Bad Request .*\): check path" "$DIR/shunt.log" || fail "$(grep " path: " "$DIR/shunt.log")"
ok
step "nothing is said of the right ones"
! grep -E " (right|rightful): " "$DIR/shunt.log" || fail "it is"
jq -e '[.troubles[].name] | index("right") == null and index("rightful") == null' "$DIR/status.json" >/dev/null || fail "$(cat "$DIR/status.json")"
ok
step "no password in log, status or API"
! grep -q "wrong\|$K16" "$DIR/shunt.log" "$DIR/status" "$DIR/status.json" || fail "there is"
ok
