/*
 * dns_serve.c - our own time for an answer by UDP, from the batch of queries to the batch of answers, without the kernel: recvmmsg() and
 * sendmmsg() are this program's
 *
 *   build/release/tests/bench_dns_serve
 *
 * Batches of 64 queries for known names, of 64 clients with one each, of eight, of one. Processor time, the best and the middle one of
 * 2,000 turns of four batches.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "configs/config.h"
#include "core/log.h"
#include "dns/dns.h"

#define BATCH 64
#define TURNS 2000

static uint8_t query[BATCH][DNS_ASK_MAX];
static size_t query_len[BATCH];
static unsigned n_clients;
static unsigned long n_answers;

int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout)
{
    for (unsigned i = 0; i < BATCH; i++) {
        struct sockaddr_in from = { .sin_family = AF_INET,
                                    .sin_addr = { htonl(INADDR_LOOPBACK) },
                                    .sin_port = htons((uint16_t)(40000 + i % n_clients * 7)) };

        memcpy(m[i].msg_hdr.msg_iov[0].iov_base, query[i], query_len[i]);
        memcpy(m[i].msg_hdr.msg_name, &from, sizeof(from));
        m[i].msg_hdr.msg_namelen = sizeof(from);
        m[i].msg_hdr.msg_flags = 0;
        m[i].msg_len = (unsigned)query_len[i];
    }
    return BATCH;
}

int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
    for (unsigned i = 0; i < n; i++)
        n_answers += m[i].msg_hdr.msg_iovlen;
    return (int)n;
}

static double spent_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static void measure(struct loop *loop, unsigned clients)
{
    static double took[TURNS];

    n_clients = clients;
    for (unsigned i = 0; i < TURNS; i++) {
        double began = spent_ns();

        n_answers = 0;
        loop_turn(loop, 0);
        took[i] = (spent_ns() - began) / (double)(n_answers ? n_answers : 1);
        if (!n_answers || n_answers % BATCH)
            abort();
    }
    qsort(took, TURNS, sizeof(took[0]), by_size);
    printf("%2u clients:  %.0f ns an answer the best, %.0f the middle one\n", clients, took[0], took[TURNS / 2]);
}

int main(void)
{
    static const char yaml[] = "dns: { enable: true, nameserver: [ rcode://refused ] }";
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct loop *loop = loop_new();
    socklen_t len = sizeof(at);
    struct profile *p;
    struct dns *dns;
    struct diag d;

    log_threshold = LOG_SILENT;
    diag_init(&d, "bench", NULL, 0, false);
    for (unsigned i = 0; i < BATCH; i++) {
        char name[64];

        snprintf(name, sizeof(name), "host%u.some.where.test", i);
        query_len[i] = dns_make_query(name, 1, query[i]);
    }
    if (fd < 0 || !loop || !(p = profile_load(yaml, sizeof(yaml) - 1, &d)) ||
        dns_new(&(struct dns_opts){ .loop = loop, .profile = p }, &dns, &d) < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) < 0 || dns_serve_fds(dns, &fd, 1, NULL, 0) < 0 ||
        sendto(fd, "", 1, 0, (struct sockaddr *)&at, len) != 1) /* nobody takes it: there is always something to read */
        abort();
    measure(loop, 64);
    measure(loop, 8);
    measure(loop, 1);
    dns_free(dns);
    close(fd);
    loop_turn(loop, 0);
    profile_free(p);
    diag_fini(&d);
    loop_free(loop);
    return 0;
}
