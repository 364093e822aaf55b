/*
 * helper_quic.c - the first datagrams of a QUIC client, and what comes back: echoed | refused | silence
 *
 *   helper_quic ADDRESS PORT NAME VERSION FROM      an IPv4 address; VERSION 1 or 2; FROM: the own port, as a port used again within a minute would
 *                                                    belong to the flow before; the ClientHello for NAME is cut into shuffled pieces over two datagrams
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/addr.h"
#include "tests/unit/client_hello.h"

static struct out message, frames[2], datagram;

int main(int argc, char **argv)
{
    const struct quic_keys *k = &quic_keys[argc > 5 && argv[4][0] == '2'];
    struct timeval patience = { .tv_sec = 2 };
    struct sockaddr_storage there, here;
    struct endpoint to = { 0 }, from = { .ip.ver = 4 };
    int fd, echoed = 0;
    uint8_t buf[2048];
    ssize_t n = 0;

    if (argc < 6 || addr_parse(argv[1], &to.ip) < 0)
        return 2;
    to.port = (uint16_t)atoi(argv[2]);
    from.port = (uint16_t)atoi(argv[5]);
    hello(&message, argv[3], 1200);
    for (size_t at = 0, i = 0; at < message.len; at += 100, i++)
        put_crypto(&frames[i % 2], &message, at, message.len - at < 100 ? message.len - at : 100);
    endpoint_to_sockaddr(&to, &there);
    endpoint_to_sockaddr(&from, &here);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (bind(fd, (struct sockaddr *)&here, sizeof(struct sockaddr_in)) < 0 || connect(fd, (struct sockaddr *)&there, sizeof(struct sockaddr_in)) < 0)
        return 1;
    for (unsigned i = 0; i < 2; i++) {
        datagram.len = 0;
        put_initial(&datagram, k, i, 2, "", &frames[1 - i]); /* the second half first */
        if (send(fd, datagram.b, datagram.len, 0) < 0)
            break;
        usleep(20000);
    }
    while (echoed < 2 && (n = recv(fd, buf, sizeof(buf), 0)) > 0)
        echoed++;
    puts(echoed == 2 ? "echoed" : n < 0 && errno == ECONNREFUSED ? "refused" : "silence");
    close(fd);
    return 0;
}
