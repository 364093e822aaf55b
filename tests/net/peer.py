"""Client and server for the network tests: transfers with checksums, half-close, bursts, datagrams, what connect() sees.

Server, on one port, TCP and UDP, both families. First byte of a TCP connection says what is wanted:
  U  upload:   read to EOF, answer 8 bytes length + SHA-256, close
  D  download: 8 bytes length follow; send that many bytes and their SHA-256, shut down, read to EOF
  X  exchange: 8 bytes length follow; read that many, send back as many of its own, then SHA-256 of what came
UDP: echoes; a datagram "CONE" is answered from another port as well.
"""
import errno
import hashlib
import os
import socket
import struct
import sys
import threading
import time

CHUNK = 65536


def read_n(s, n):
    parts = []
    while n:
        d = s.recv(min(n, CHUNK))
        if not d:
            raise EOFError(f"{n} bytes missing")
        parts.append(d)
        n -= len(d)
    return b"".join(parts)


def send_random(s, size, h):
    block = os.urandom(min(size, 1 << 20) or 1)
    while size:
        d = block[: min(size, len(block))]
        h.update(d)
        s.sendall(d)
        size -= len(d)


def hash_n(s, n):
    h = hashlib.sha256()
    while n:
        d = s.recv(min(n, CHUNK))
        if not d:
            raise EOFError(f"{n} bytes missing")
        h.update(d)
        n -= len(d)
    return h.digest()


def serve_one(c):
    with c:
        kind = c.recv(1)
        if kind == b"U":
            h, n = hashlib.sha256(), 0
            while d := c.recv(CHUNK):
                h.update(d)
                n += len(d)
            c.sendall(struct.pack("!Q", n) + h.digest())
        elif kind == b"D":
            (size,) = struct.unpack("!Q", read_n(c, 8))
            h = hashlib.sha256()
            send_random(c, size, h)
            c.sendall(h.digest())
            c.shutdown(socket.SHUT_WR)
            while c.recv(CHUNK):
                pass
        elif kind == b"X":
            (size,) = struct.unpack("!Q", read_n(c, 8))
            digest = hash_n(c, size)
            h = hashlib.sha256()
            send_random(c, size, h)
            c.sendall(h.digest() + digest)


def serve(port):
    tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    udps = []
    for fam, any_ in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        u = socket.socket(fam, socket.SOCK_DGRAM)
        if fam == socket.AF_INET6:
            u.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            u.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            u.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        u.bind((any_, port))
        udps.append(u)

    def echo(u):
        while True:
            d, anc, _, who = u.recvmsg(65536, 1024)
            mine = [(lvl, typ, data) for lvl, typ, data in anc]
            if u.family == socket.AF_INET and mine:  # answer from the address it came to
                idx, _, dst = struct.unpack("I4s4s", mine[0][2][:12])
                mine = [(socket.IPPROTO_IP, 8, struct.pack("I4s4s", 0, dst, dst))]
            elif mine:
                mine = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, mine[0][2][:16] + b"\0\0\0\0")]
            try:
                u.sendmsg([d], mine, 0, who)
                if d == b"CONE":
                    with socket.socket(u.family, socket.SOCK_DGRAM) as other:
                        other.sendto(b"STRANGER", who)
            except OSError:
                pass

    for u in udps:
        threading.Thread(target=echo, args=(u,), daemon=True).start()
    while True:
        c, _ = tcp.accept()
        threading.Thread(target=guarded, args=(c,), daemon=True).start()


def guarded(c):
    try:
        serve_one(c)
    except (OSError, EOFError):
        pass


def address(fam, host, port, kind=socket.SOCK_STREAM):
    return socket.getaddrinfo(host, port, {"4": socket.AF_INET, "6": socket.AF_INET6}.get(fam, 0), kind)[0]


def connect(fam, host, port, timeout=30):
    f, kind, _, _, at = address(fam, host, port)
    s = socket.socket(f, kind)
    s.settimeout(timeout)
    s.connect(at)
    return s


def upload(fam, host, port, size):
    h = hashlib.sha256()
    with connect(fam, host, port) as s:
        s.sendall(b"U")
        send_random(s, size, h)
        s.shutdown(socket.SHUT_WR)
        (n,) = struct.unpack("!Q", read_n(s, 8))
        assert n == size, f"server got {n} of {size}"
        assert read_n(s, 32) == h.digest(), "checksum differs"
        assert s.recv(1) == b"", "no EOF"


def download(fam, host, port, size):
    with connect(fam, host, port) as s:
        s.sendall(b"D" + struct.pack("!Q", size))
        digest = hash_n(s, size)
        assert read_n(s, 32) == digest, "checksum differs"
        assert s.recv(1) == b"", "no EOF"
        time.sleep(0.05)
        s.sendall(b"still open towards the server")


def slow(fam, host, port, size):
    """A reader with a 4 KiB buffer that takes its time."""
    f, kind, _, _, at = address(fam, host, port)
    with socket.socket(f, kind) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(30)
        s.connect(at)
        s.sendall(b"D" + struct.pack("!Q", size))
        h, left, n = hashlib.sha256(), size, 0
        while left:
            d = s.recv(min(left, 3000))
            assert d, f"{left} bytes missing"
            h.update(d)
            left -= len(d)
            n += 1
            if n % 50 == 0:
                time.sleep(0.02)
        assert read_n(s, 32) == h.digest(), "checksum differs"


def exchange(fam, host, port, size):
    h = hashlib.sha256()
    with connect(fam, host, port) as s:
        s.sendall(b"X" + struct.pack("!Q", size))
        t = threading.Thread(target=send_random, args=(s, size, h))
        t.start()
        digest = hash_n(s, size)
        t.join()
        assert read_n(s, 32) == digest, "checksum of the download differs"
        assert read_n(s, 32) == h.digest(), "checksum of the upload differs"


def burst(fam, host, port, n):
    bad = []

    def one(i):
        try:
            exchange(fam, host, port, 1000 + 977 * i % 50000)
        except Exception as e:  # counted, printed
            bad.append(repr(e))

    ts = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    assert not bad, f"{len(bad)} of {n} failed: {bad[:3]}"


def udp(fam, host, port):
    f, kind, _, _, at = address(fam, host, port, socket.SOCK_DGRAM)
    with socket.socket(f, kind) as s:
        s.settimeout(1)
        s.connect(at)
        for size in list(range(1, 1401, 53)) + [1400]:
            d = os.urandom(size)
            for _ in range(4):  # datagrams may be lost
                s.send(d)
                try:
                    if s.recv(65536) == d:
                        break
                except TimeoutError:
                    continue
            else:
                raise AssertionError(f"{size} bytes never came back")


def udp_large(fam, host, port):
    f, kind, _, _, at = address(fam, host, port, socket.SOCK_DGRAM)
    with socket.socket(f, kind) as s:
        s.settimeout(1)
        s.connect(at)
        for size in (1452, 1453, 1472, 1473, 2000, 9000, 30000, 60000):
            d = os.urandom(size)
            for _ in range(4):  # datagrams may be lost
                s.send(d)
                try:
                    if s.recv(65536) == d:
                        break
                except TimeoutError:
                    continue
            else:
                raise AssertionError(f"{size} bytes never came back")


def connect_when_free(s, at):
    """Our own kernel may not have seen the last acknowledgement of the connection before."""
    end = time.monotonic() + 2
    while True:
        try:
            return s.connect(at)
        except OSError as e:
            if e.errno != errno.EADDRNOTAVAIL or time.monotonic() > end:
                raise
            time.sleep(0.002)


def same_port(fam, host, port, n):
    """Connections with the same two addresses and ports: the server closes first, so nothing waits on our side."""
    f, kind, _, _, at = address(fam, host, port)
    mine = 0
    for i in range(n):
        with socket.socket(f, kind) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("::" if f == socket.AF_INET6 else "0.0.0.0", mine))
            mine = s.getsockname()[1]
            s.settimeout(5)
            try:
                connect_when_free(s, at)
                s.sendall(b"D" + struct.pack("!Q", 100 + i))
                digest = hash_n(s, 100 + i)
                assert read_n(s, 32) == digest, "checksum differs"
                assert s.recv(1) == b"", "no EOF"
            except OSError as e:
                raise AssertionError(f"connection {i}: {e}") from e


def udp_burst(fam, host, port):
    """Bursts, as QUIC sends them: of equal size with a shorter last one, of mixed sizes, and one system call's worth (UDP_SEGMENT). Every datagram comes back as it was."""
    f, kind, _, _, at = address(fam, host, port, socket.SOCK_DGRAM)
    shapes = {"equal": [1200] * 30 + [300], "mixed": [1200, 1200, 40, 1200, 1300, 1300, 7, 900] * 4, "segments": [1200] * 30 + [300]}
    with socket.socket(f, kind) as s:
        s.settimeout(1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        s.connect(at)
        s.send(b"hello")
        assert s.recv(100) == b"hello"
        for shape, sizes in shapes.items():
            for _ in range(4):  # datagrams may be lost
                want = [struct.pack("!HI", i, size) + os.urandom(size) for i, size in enumerate(sizes)]
                want = [d[:size] for d, size in zip(want, sizes)]
                if shape == "segments":
                    s.sendmsg([b"".join(want)], [(socket.IPPROTO_UDP, 103, struct.pack("H", sizes[0]))])
                else:
                    for d in want:
                        s.send(d)
                got = []
                try:
                    while len(got) < len(want):
                        got.append(s.recv(65536))
                except TimeoutError:
                    pass
                assert all(d in want for d in got), f"{shape}: a datagram was changed"
                if got == want:
                    break
            else:
                raise AssertionError(f"{shape}: {len(got)} of {len(want)} came back, or out of order")


def cone(fam, host, port):
    f, kind, _, _, at = address(fam, host, port, socket.SOCK_DGRAM)
    with socket.socket(f, kind) as s:
        s.settimeout(5)
        s.sendto(b"CONE", at)
        got = {}
        while len(got) < 2:
            d, who = s.recvfrom(65536)
            got[d] = who
        assert got[b"CONE"][:2] == at[:2], got
        assert got[b"STRANGER"][1] != port, got


def expect_connect(fam, host, port, what):
    t = time.monotonic()
    try:
        connect(fam, host, port, timeout=2).close()
        seen = "open"
    except ConnectionRefusedError:
        seen = "refused"
    except TimeoutError:
        seen = "silent"
    except OSError as e:
        seen = e.strerror
    assert seen == what, f"{seen}, not {what}"
    assert what == "silent" or time.monotonic() - t < 1, "not at once"


def udp_refused(fam, host, port):
    f, kind, _, _, at = address(fam, host, port, socket.SOCK_DGRAM)
    with socket.socket(f, kind) as s:
        s.settimeout(2)
        s.connect(at)
        s.send(b"x")
        try:
            s.recv(10)
        except ConnectionRefusedError:
            return
    raise AssertionError("no refusal came")


def main():
    verb, args = sys.argv[1], sys.argv[2:]
    if verb == "serve":
        serve(int(args[0]))
    fam, host, port, rest = args[0], args[1], int(args[2]), args[3:]
    if verb == "connect":
        expect_connect(fam, host, port, rest[0])
    elif verb == "udp-refused":
        udp_refused(fam, host, port)
    else:
        verbs = {"upload": upload, "download": download, "exchange": exchange, "slow": slow, "burst": burst, "same-port": same_port}
        verbs |= {"udp": udp, "udp-burst": udp_burst, "udp-large": udp_large, "cone": cone}
        verbs[verb](fam, host, port, *map(int, rest))


if __name__ == "__main__":
    main()
