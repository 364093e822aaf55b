"""Many connections at once. serve PORT: echoes. open HOST[,HOST...] PORT N OPENFILE GOFILE: opens N, to the hosts in turn, a byte round on each, creates OPENFILE, waits
for GOFILE, another round, closes."""
import os
import resource
import selectors
import socket
import sys
import time

resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def serve(port):
    sel = selectors.DefaultSelector()
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
    listener.setblocking(False)
    sel.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in sel.select():
            if key.fileobj is listener:
                for _ in range(256):
                    try:
                        c, _ = listener.accept()
                    except BlockingIOError:
                        break
                    c.setblocking(False)
                    sel.register(c, selectors.EVENT_READ)
                continue
            c = key.fileobj
            try:
                d = c.recv(4096)
                if d:
                    c.sendall(d)
                    continue
            except OSError:
                pass
            sel.unregister(c)
            c.close()


def round_trip(conns, what):
    for i in range(0, len(conns), 500):
        for s in conns[i : i + 500]:
            s.sendall(what)
        for s in conns[i : i + 500]:
            got = s.recv(100)
            assert got == what, got


def open_many(hosts, port, n, opened, go):
    start = time.monotonic()
    conns = []
    for i in range(n):
        s = socket.create_connection((hosts[i % len(hosts)], port), timeout=30)
        conns.append(s)
    took = time.monotonic() - start
    round_trip(conns, b"first")
    open(opened, "w").close()
    while not os.path.exists(go):
        time.sleep(0.05)
    round_trip(conns, b"second")
    for s in conns:
        s.close()
    print(f"opened at {n / took:.0f}/s")


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
open_many(sys.argv[2].split(","), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sys.argv[6])
