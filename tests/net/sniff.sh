#!/bin/bash
# Names out of first bytes: TLS, HTTP and QUIC to bare addresses obey rules about names; a server that speaks first is not kept waiting; an address that means nothing any
# more is saved by the name.
. "$(dirname "$0")/lib.sh"
QUIC=${HELPER_QUIC:-$PWD/build/dev/tests/helper_quic}
need_world dnsmasq openssl python3 curl
[ -x "$QUIC" ] || skip "needs $QUIC"
world_up
background "$ORG" python3 "$PWD/tests/net/peer.py" serve 9000
origin_dns secure.test=4 fine.test=4 web.test=3
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/key" -out "$DIR/cert" -days 2 -subj /CN=secure.test 2>/dev/null
background "$ORG" openssl s_server -accept 10.78.0.4:443 -key "$DIR/key" -cert "$DIR/cert" -quiet -www
# 3:80 says which name it was asked for; 5:443 and 5:2222 greet before they listen
cat >"$DIR/servers.py" <<'EOF'
import socket, threading
def web(c):
    head = c.recv(4096).decode()
    name = [l.split(":", 1)[1].strip() for l in head.split("\r\n") if l.lower().startswith("host:")]
    c.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + " ".join(name).encode())
def greet(c):
    c.sendall(b"220 hello\r\n")
    c.recv(100)
def serve(addr, port, what):
    s = socket.create_server((addr, port))
    while True:
        c, _ = s.accept()
        def one(c=c):
            with c:
                what(c)
        threading.Thread(target=one, daemon=True).start()
for a in (("10.78.0.3", 80, web), ("10.78.0.5", 443, greet), ("10.78.0.5", 2222, greet)):
    threading.Thread(target=serve, args=a).start()
EOF
background "$ORG" python3 "$DIR/servers.py"
wait_for 5 port_open "$ORG" 10.78.0.4 443 && wait_for 5 port_open "$ORG" 10.78.0.5 2222 || fail "the origin did not start"
cat >"$DIR/p.yaml" <<'EOF'
tun: { device: tunsniff }
dns: { nameserver: [10.78.0.2] }
sniffer:
  enable: true
  sniff:
    TLS: { ports: [443] }
    HTTP: { ports: [80], override-destination: false }
    QUIC: { ports: [9000], override-destination: false }
  skip-domain: [ "+.skipped.test" ]
  force-domain: [ "forced.test" ]
  skip-dst-address: [ 10.78.0.6/32 ]
rules:
  - DOMAIN-SUFFIX,reject.test,REJECT
  - DOMAIN-SUFFIX,skipped.test,REJECT
  - MATCH,DIRECT
EOF
shunt_start "$DIR/p.yaml"
tls() { echo | in_app timeout 5 openssl s_client -connect "$1:443" -servername "$2" -brief >"$DIR/out" 2>&1; }
web() { in_app curl -sS --max-time 5 -H "Host: $2" "http://$1/"; }
# quic ADDRESS NAME VERSION FROM
quic() { in_app timeout 5 "$QUIC" "$1" 9000 "$2" "$3" "$4"; }
# greeting ADDRESS PORT: milliseconds until the server's first word
greeting() {
    in_app timeout 5 python3 -c "
import socket, time
t = time.monotonic()
s = socket.create_connection(('$1', $2))
assert s.recv(100) == b'220 hello\r\n'
print(int((time.monotonic() - t) * 1000))"
}

step "TLS to a bare address: by its name"
tls 10.78.0.4 www.reject.test && fail "not rejected"
tls 10.78.0.4 fine.test || fail "$(cat "$DIR/out")"
ok
step "the name becomes the destination"
tls 10.78.0.9 secure.test || fail "$(cat "$DIR/out")"
ok
step "a ClientHello in 50 pieces"
cat >"$DIR/pieces.py" <<'EOF'
import socket, ssl, sys, time
i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
c = ssl._create_unverified_context()
s = c.wrap_bio(i, o, server_hostname=sys.argv[1])
try: s.do_handshake()
except ssl.SSLWantReadError: pass
hello = o.read()
k = socket.create_connection(("10.78.0.4", 443))
k.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
n = len(hello) // 50 + 1
for at in range(0, len(hello), n):
    k.sendall(hello[at:at + n]); time.sleep(0.004)
print("answered" if k.recv(5)[:1] == b"\x16" else "closed")
EOF
[ "$(in_app timeout 5 python3 "$DIR/pieces.py" fine.test)" = answered ] || fail "not answered"
[ "$(in_app timeout 5 python3 "$DIR/pieces.py" x.reject.test 2>&1 | tail -n 1)" != answered ] || fail "not rejected"
ok
step "HTTP: the rules see the name, the address stays"
[ "$(web 10.78.0.3 web.other.test)" = web.other.test ] || fail "$(web 10.78.0.3 web.other.test)"
web 10.78.0.3 a.reject.test >/dev/null 2>&1 && fail "not rejected"
ok
for version in 1 2; do
    step "QUIC version $version, two datagrams, pieces in any order"
    got=$(quic 10.78.0.3 fine.test $version 1000$version) && [ "$got" = echoed ] || fail "fine.test: $got"
    got=$(quic 10.78.0.3 a.reject.test $version 2000$version) && [ "$got" = refused ] || fail "a.reject.test: $got"
    ok
done
step "names in skip-domain and addresses in skip-dst-address are left alone"
tls 10.78.0.4 a.skipped.test || fail "$(cat "$DIR/out")"
tls 10.78.0.6 secure.test && fail "the destination was changed"
ok
step "a fake address that means nothing is saved by the name, and only by it"
tls 198.18.200.7 secure.test || fail "$(cat "$DIR/out")"
tls 198.18.200.7 1.2.3.4 && fail "without a name"
in_app curl -sS --max-time 3 http://198.18.200.7:8080/ 2>/dev/null; [ $? = 7 ] || fail "on another port"
ok
step "other datagrams on the port are echoed all the same"
in_app timeout 30 python3 "$PWD/tests/net/peer.py" udp 4 10.78.0.3 9000 || fail "udp"
ok
step "a server that speaks first: at once on a port that is not listed"
ms=$(greeting 10.78.0.5 2222) || fail "no greeting"
[ "$ms" -lt 250 ] || fail "$ms ms"
ok "$ms ms"
step "on a listed one after at most 300 ms, and after six times at once"
for n in 1 2 3 4 5 6; do
    ms=$(greeting 10.78.0.5 443) || fail "no greeting"
    [ "$ms" -lt 700 ] || fail "$ms ms"
done
late=$(greeting 10.78.0.5 443) || fail "no greeting"
[ "$ms" -ge 280 ] && [ "$late" -lt 250 ] || fail "$ms ms, then $late ms"
ok "$ms ms, then $late ms"
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
