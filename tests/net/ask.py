"""ask.py ADDR PORT TEXT [DEVICE]: one datagram, prints the answer (status 1: none in a second; 2: refused at once)
ask.py tcp ADDR PORT: prints what the peer says
ask.py serve PORT: answers every datagram with itself"""
import socket
import sys


def family(addr):
    return socket.AF_INET6 if ":" in addr else socket.AF_INET


def serve(port):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    s.bind(("::", port))
    while True:
        data, anc, _, peer = s.recvmsg(2048, 256)
        # from the address that was asked
        s.sendmsg([data], [a for a in anc if a[1] == socket.IPV6_PKTINFO], 0, peer)


def main():
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    try:
        if sys.argv[1] == "tcp":
            s = socket.create_connection((sys.argv[2], int(sys.argv[3])), 2)
        else:
            s = socket.socket(family(sys.argv[1]), socket.SOCK_DGRAM)
            s.settimeout(1)
            if len(sys.argv) > 4:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[4].encode())
            s.connect((sys.argv[1], int(sys.argv[2])))
            s.send(sys.argv[3].encode())
        print(s.recv(2048).decode().strip())
    except socket.timeout:
        sys.exit(1)
    except OSError as e:
        print(e.strerror)
        sys.exit(2)


main()
