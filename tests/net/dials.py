"""Peers for dials.sh: who dialled, by which way, and what the first bytes were.

  who FIRST LAST        on these ports, both families: says "<client> <this end>" at once, then echoes; fast open is offered. Datagrams are echoed
  trojan PORT CERT KEY LOG   a TLS and Trojan server; a line of LOG per connection: SNI, resumed or full, bytes of its first record
  dns ADDRESS SECONDS   a name server that knows every name as 10.78.0.4, and as fd78::4 so much later
  try HOST PORT N TEXT  connects N times, sends TEXT ("" for none) at once, reads the line; prints the fewest milliseconds and the last line
  keep HOST PORT        connects, reads the line, prints it, and stays; prints "gone" when the other end is
  both HOST PORT        one connection that is greeted, and three datagrams that come back
  udp HOST PORT N PAUSE SIZE  sends N datagrams, says "sent", then how many came back within PAUSE seconds, in one go
  names HOST HOST PORT  from one socket to both: each answer comes from the address of its name
"""
import select
import socket
import ssl
import sys
import threading
import time

TCP_FASTOPEN = 23


def guarded(f, *args):
    def run():
        try:
            f(*args)
        except (OSError, EOFError, ValueError):
            pass
    threading.Thread(target=run, daemon=True).start()


def read_n(s, n):
    d = b""
    while len(d) < n:
        more = s.recv(n - len(d))
        if not more:
            raise EOFError
        d += more
    return d


def plain(address):
    return address.removeprefix("::ffff:")


def who_one(c):
    with c:
        c.sendall(f"{plain(c.getpeername()[0])} {plain(c.getsockname()[0])}\n".encode())
        while d := c.recv(65536):
            c.sendall(d)


def who_port(s):
    while True:
        guarded(who_one, s.accept()[0])


def echo(u):
    while True:
        u.sendto(*u.recvfrom(65536))


def who(first, last):
    for port in range(first, last + 1):
        s = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
        s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 16)
        guarded(who_port, s)
        for family, address in ((socket.AF_INET, "10.78.0.5"), (socket.AF_INET, "10.78.0.6"), (socket.AF_INET6, "fd78::5"), (socket.AF_INET6, "fd78::6")):
            u = socket.socket(family, socket.SOCK_DGRAM)
            u.bind((address, port))
            guarded(echo, u)
    threading.Event().wait()


def relay(t, up):
    while True:
        for s in [t] if t.pending() else select.select([t, up], [], [])[0]:
            d = s.recv(65536)
            if not d:
                return
            (up if s is t else t).sendall(d)


def trojan_one(c, context, log):
    names = {}
    context_names[threading.get_ident()] = names
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with context.wrap_socket(c, server_side=True) as t:
        first = t.recv(16384)  # one record at most
        log.write(f"{names.get('sni')} {'resumed' if t.session_reused else 'full'} {len(first)}\n")
        log.flush()
        command, kind = first[58], first[59]
        if first[56:58] != b"\r\n" or command not in (1, 3):
            return
        if kind == 3:
            end = 61 + first[60]
            host = first[61:end].decode()
        else:
            end = 60 + {1: 4, 4: 16}[kind]
            host = socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, first[60:end])
        port, rest = int.from_bytes(first[end:end + 2], "big"), first[end + 4:]
        if command == 3:  # datagrams: each comes back as it was, from whom it was for - by the name that it was sent to, as some servers do
            while rest:
                t.sendall(rest)
                rest = t.recv(65536)
            return
        with socket.create_connection((host, port), timeout=10) as up:
            up.settimeout(None)
            up.sendall(rest)
            relay(t, up)


context_names = {}


def trojan(port, cert, key, log):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.sni_callback = lambda _, name, __: context_names[threading.get_ident()].update(sni=name)
    s = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    with open(log, "a") as out:
        while True:
            guarded(trojan_one, s.accept()[0], context, out)


def dns(address, late):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 53))
    while True:
        query, who = s.recvfrom(4096)
        end = query.index(0, 12) + 5
        six = query[end - 4:end - 2] == b"\0\x1c"
        ip = socket.inet_pton(*((socket.AF_INET6, "fd78::4") if six else (socket.AF_INET, "10.78.0.4")))
        answer = query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:end] + b"\xc0\x0c" + query[end - 4:end] + b"\0\0\0\0\0" + bytes([len(ip)]) + ip
        threading.Timer(late if six else 0, s.sendto, (answer, who)).start()


def attempt(host, port, n, text):
    best = 1e9
    for _ in range(n):
        began = time.monotonic()
        with socket.create_connection((host, port), timeout=15) as s:
            s.sendall(text.encode())
            line = b""
            while not line.endswith(b"\n"):
                line += read_n(s, 1)
            best = min(best, time.monotonic() - began)
            if read_n(s, len(text)) != text.encode():
                raise ValueError("the echo differs")
    print(round(best * 1000), line.decode().strip())


def keep(host, port):
    with socket.create_connection((host, port), timeout=15) as s:
        s.settimeout(None)
        print(s.recv(200).decode().strip(), flush=True)
        try:
            while s.recv(100):
                pass
        except OSError:
            pass
        print("gone", flush=True)


def udp(host, port, n, pause, size):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect((host, port))
        for i in range(n):
            s.send(i.to_bytes(4, "big") * (size // 4))
        print("sent", flush=True)
        end, got = time.monotonic() + pause, set()
        while len(got) < n and (left := end - time.monotonic()) > 0:
            s.settimeout(min(left, 0.7) if got else left)
            try:
                got.add(s.recv(65536)[:4])
            except TimeoutError:
                break
    return len(got)


def names(hosts, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(3)
        at = {(socket.gethostbyname(host), port): host.encode() for host in hosts}
        for _ in range(2):
            for where, text in at.items():
                s.sendto(text, where)
            for _ in at:
                text, where = s.recvfrom(100)
                if at[where] != text:
                    raise ValueError(f"{text} came from {where}, who is {at[where]}")


def main():
    verb, a = sys.argv[1], sys.argv[2:]
    if verb == "who":
        who(int(a[0]), int(a[1]))
    elif verb == "trojan":
        trojan(int(a[0]), *a[1:])
    elif verb == "dns":
        dns(a[0], float(a[1]))
    elif verb == "try":
        attempt(a[0], int(a[1]), int(a[2]), a[3])
    elif verb == "keep":
        keep(a[0], int(a[1]))
    elif verb == "names":
        names(a[:2], int(a[2]))
    elif verb == "udp":
        print(udp(a[0], int(a[1]), int(a[2]), float(a[3]), int(a[4])))
    elif verb == "both":
        attempt(a[0], int(a[1]), 1, "hello")
        if udp(a[0], int(a[1]), 3, 3, 100) != 3:
            sys.exit("datagrams are missing")


main()
