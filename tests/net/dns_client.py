"""dns_client.py names N PREFIX FILE: asks 127.0.0.1 for N names and writes "name address" lines
dns_client.py same FILE: asks again; every name must have the address that the file says
dns_client.py reverse FILE: every address must have the name that the file says
dns_client.py leak: queries in every way that a program may try, to servers that are none of ours; answers do not matter
dns_client.py ms NAME TYPE [SERVER]: asks once and says "rcode answers milliseconds"
dns_client.py flood N ADDRESS: asks for N new names, and more until 4 seconds are over, as fast as they are answered, 100 under way; no address may go to two
    names within a second, none to ADDRESS
dns_client.py nag SECONDS RATE SUFFIX: asks for so many names below SUFFIX per second, new ones every time; says what came
dns_client.py prefetch SECONDS NAME...: asks for a name, whose answer holds for so long, until a newer answer comes; in time: says when; too late: tries the next one
dns_client.py hold HOST PORT FILE: connects, says so in FILE, waits for the end and says how it came"""
import os
import select
import socket
import struct
import sys
import time

TYPES = {"A": 1, "PTR": 12, "AAAA": 28, "HTTPS": 65}


def query(i, name, kind):
    labels = b"".join(bytes([len(x)]) + x.encode() for x in name.split("."))
    return struct.pack("!6H", i, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", TYPES[kind], 1)


def data(answer):
    """The data of the first record; names of ours are compressed nowhere but in the owner."""
    end = answer.index(0, 12) + 5
    return answer[end + 12:] if answer[7] else b""


def ask_all(questions, kind):
    """Answers in the order of the questions, a hundred under way."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("127.0.0.1", 53))
    out = [None] * len(questions)
    for at in range(0, len(questions), 100):
        block = range(at, min(at + 100, len(questions)))
        for attempt in range(5):
            left = [i for i in block if out[i] is None]
            for i in left:
                s.send(query(i & 0xFFFF, questions[i], kind))
            while any(out[i] is None for i in block) and select.select([s], [], [], 1)[0]:
                a = s.recv(4096)
                i = next(i for i in block if i & 0xFFFF == struct.unpack("!H", a[:2])[0])
                out[i] = data(a)
    return out


def read(path):
    return [line.split() for line in open(path)]


def ask_names(names):
    return [socket.inet_ntoa(d[:4]) if d else "none" for d in ask_all(names, "A")]


def names(n, prefix, path):
    all_names = [f"{prefix}{i}.many.test" for i in range(n)]
    with open(path, "w") as f:
        for name, address in zip(all_names, ask_names(all_names)):
            f.write(f"{name} {address}\n")


def check(got, want, what):
    wrong = [(w, g) for w, g in zip(want, got) if w != g]
    print(f"{len(want) - len(wrong)} of {len(want)} {what}", *wrong[:3])
    sys.exit(1 if wrong or not want else 0)


def same(path):
    rows = read(path)
    check(ask_names([n for n, _ in rows]), [a for _, a in rows], "names have their address")


def reverse(path):
    rows = read(path)
    answers = ask_all([".".join(reversed(a.split("."))) + ".in-addr.arpa" for _, a in rows], "PTR")
    got = []
    for d in answers:
        labels, at = [], 0
        while d and d[at]:
            labels.append(d[at + 1:at + 1 + d[at]].decode())
            at += 1 + d[at]
        got.append(".".join(labels))
    check(got, [n for n, _ in rows], "addresses have their name")


def leak():
    servers = ["127.0.0.53", "10.77.0.1", "9.9.9.9", "10.78.0.9", "::1", "fd77::1", "2620:fe::fe"]
    for device in (None, b"uplink"):
        for server in servers:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                try:
                    s = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, kind)
                    s.settimeout(0.15)
                    if device:
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
                    s.connect((server, 53))
                    q = query(7, "secret.leak.test", "A")
                    s.send(q if kind == socket.SOCK_DGRAM else struct.pack("!H", len(q)) + q)
                    s.recv(512)
                except OSError:
                    pass


def ms(name, kind, server="127.0.0.1"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(6)
    s.connect((server, 53))
    began = time.monotonic()
    s.send(query(9, name, kind))
    a = s.recv(4096)
    print(a[3] & 15, a[7], round((time.monotonic() - began) * 1000))


def flood(n, taken):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("127.0.0.1", 53))
    given, fresh, full, lost, wrong = {}, 0, 0, 0, []
    at, began = 0, time.monotonic()
    while at < n or time.monotonic() < began + 4:
        asked = time.monotonic()
        for i in range(at, at + 100):
            s.send(query(i & 0xFFFF, f"flood{i}.test", "A"))
        at += 100
        for _ in range(100):
            if not select.select([s], [], [], 2)[0]:
                lost += 1
                break
            a = s.recv(4096)
            address = data(a)[:4]
            if not address:
                full += 1
                continue
            fresh += 1
            # the old answer was sent before this round began: its second runs from no earlier than its own round
            if address == socket.inet_aton(taken) or time.monotonic() - given.get(address, -9) < 1:
                wrong.append(socket.inet_ntoa(address))
            given[address] = asked
    print(f"{fresh} of {at} names got one of {len(given)} addresses, {full} got SERVFAIL", *wrong[:3])
    sys.exit(1 if wrong or lost > 5 or len(given) < 250 or fresh < 500 else 0)


def nag(seconds, rate, suffix):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("127.0.0.1", 53))
    n = int(seconds) * int(rate)
    began, codes = time.monotonic(), {}
    for i in range(n):
        s.send(query(i, f"nag{i}.{suffix}", "A"))
        while time.monotonic() < began + (i + 1) / int(rate):
            if select.select([s], [], [], max(0, began + (i + 1) / int(rate) - time.monotonic()))[0]:
                code = s.recv(4096)[3] & 15
                codes[code] = codes.get(code, 0) + 1
    print(f"{n} questions, answers by code: {codes}")


def prefetch(seconds, *all_names):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("127.0.0.1", 53))
    for name in all_names:
        ttls, first = [], None
        while first is None or time.monotonic() < first + int(seconds):
            s.send(query(len(ttls), name, "A"))
            if select.select([s], [], [], 1)[0]:
                a = s.recv(4096)
                first = first or time.monotonic()
                ttls.append(struct.unpack("!I", a[a.index(0, 12) + 5 + 6:][:4])[0])
                took = time.monotonic() - first
                if len(ttls) > 1 and ttls[-1] > ttls[-2] and took < int(seconds):
                    print(f"{name}: a new answer after {took:.1f} of {seconds} s")
                    return
            time.sleep(0.1)
    sys.exit(f"no answer was fetched before the last one was over: {ttls}")


def hold(host, port, path):
    s = socket.create_connection((host, int(port)))
    s.sendall(b"X" + struct.pack("!Q", 1000))
    open(path, "w").write("connected\n")
    try:
        end = "end" if not s.recv(1) else "data"
    except OSError as e:
        end = e.strerror
    device = os.path.exists("/sys/class/net/tunsys")
    open(path, "a").write(f"{end}, the device is {'there' if device else 'gone'}\n")


args = sys.argv[2:]
if sys.argv[1] in ("names", "flood"):
    args[0] = int(args[0])
globals()[sys.argv[1]](*args)
