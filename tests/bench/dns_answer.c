/*
 * dns_answer.c - our own time for an answer, without the kernel's way from socket to socket: what dns_query() costs until the reply is
 * there
 *
 *   build/release/tests/bench_dns_answer
 *
 *   new         every address of a /16, each to a name that was never asked for; the file of names is written as it is in service
 *   known       the same names again, in random order
 *   recycled    a full pool: each new name takes the address of another; this is written before the answer leaves
 *   back        address to name, by processor time: of all addresses those that were used a while ago, of all once more, and of 256. The
 *               bench's own walk over its table of addresses is said, too
 *
 * Turns of one query (a write for each) and of 64, as the server takes them. Wall time of this thread: a wait for the disk would be in it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "configs/config.h"
#include "core/log.h"
#include "dns/dns.h"

#define NAMES       65531
#define OPT_LEN     11 /* behind the address */
#define BACK_ROUNDS 9

static struct loop *loop;
static struct dns *dns;
static unsigned n_answers;
static struct addr addrs[2 * NAMES];
static double took[2 * NAMES];

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void on_reply(void *arg, const struct endpoint *client, const struct endpoint *server, const void *msg, size_t len,
                     const struct dns_answered *by)
{
    if (by->how != DNS_BY_FAKE || len < OPT_LEN + 4)
        abort();
    addrs[*(unsigned *)arg] = addr_v4((const uint8_t *)msg + len - OPT_LEN - 4);
    n_answers++;
}

static void ask(unsigned i, unsigned name)
{
    static const struct endpoint at = { { 4, { 127, 0, 0, 1 } }, 4321 };
    uint8_t msg[DNS_ASK_MAX];
    char text[64];
    double began;
    size_t len;

    snprintf(text, sizeof(text), "host%u.some.where.test", name);
    len = dns_make_query(text, 1, msg);
    began = now_us();
    dns_query(dns, msg, len, &(struct dns_client){ .reply = on_reply, .arg = &i }, &at, &at);
    took[i] = now_us() - began;
}

static int by_size(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

/* n queries from name number `first` on, in turns of so many. */
static void round_of(const char *what, unsigned first, unsigned n, unsigned per_turn, unsigned step)
{
    double began = now_us(), all;

    n_answers = 0;
    for (unsigned i = 0; i < n; i++) {
        ask(i, first + (unsigned)((uint64_t)i * step % NAMES));
        if ((i + 1) % per_turn == 0)
            loop_turn(loop, 0);
    }
    loop_turn(loop, 0);
    all = now_us() - began;
    if (n_answers != n)
        abort();
    qsort(took, n, sizeof(took[0]), by_size);
    printf("%-9s %6u names, turns of %2u:  %5.2f us the middle one, %5.2f us of 99 in 100, %5.2f us each with its share of the turn\n",
           what, n, per_turn, took[n / 2], took[n / 100 * 99], all / n);
}

static double spent_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* these are milliseconds: who else wants the processor must not count */
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* One of the first n addresses, NAMES times, at random. Each waits for the one before, as flows that come one by one do: else the
 * processor would look for several at once. */
static void names_back(unsigned n, double *all, double *own)
{
    static unsigned order[NAMES];
    unsigned found = 0, sum = 0;
    const char *name = NULL;
    double began;

    for (unsigned i = 0; i < NAMES; i++)
        order[i] = (unsigned)rand() % n;
    began = spent_ns();
    for (unsigned i = 0; i < NAMES; i++)
        sum += addrs[order[i + (sum >> 31)]].ver;
    *own = (spent_ns() - began) / NAMES;
    began = spent_ns();
    for (unsigned i = 0; i < NAMES; i++) {
        name = dns_fake_name(dns, &addrs[order[i + ((uintptr_t)name >> 63)]]);
        found += name != NULL;
    }
    *all = (spent_ns() - began) / NAMES;
    if (found != NAMES || sum != NAMES * 4)
        abort();
}

static void back(void)
{
    static const struct {
        unsigned n;
        const char *when;
    } cases[] = { { NAMES, "used a while ago" }, { NAMES, "used just now" }, { 256, "used just now" } };
    double all[3][BACK_ROUNDS], own[3][BACK_ROUNDS];

    for (unsigned k = 0; k < BACK_ROUNDS; k++) {
        usleep(200000);
        loop_turn(loop, 0);
        for (unsigned c = 0; c < 3; c++)
            names_back(cases[c].n, &all[c][k], &own[c][k]);
    }
    for (unsigned c = 0; c < 3; c++) {
        qsort(all[c], BACK_ROUNDS, sizeof(double), by_size);
        qsort(own[c], BACK_ROUNDS, sizeof(double), by_size);
        printf("back      %6u addresses, %s:  %.1f ns the best, %.1f ns the middle one; %.1f of them the bench's\n", cases[c].n,
               cases[c].when, all[c][0], all[c][BACK_ROUNDS / 2], own[c][0]);
    }
}

static void run(unsigned per_turn)
{
    static const char yaml[] = "dns: { enable: true, nameserver: [ rcode://refused ] }";
    char dir[] = "/tmp/shunt-bench.XXXXXX", file[64];
    struct profile *p;
    struct diag d;

    diag_init(&d, "bench", NULL, 0, false);
    if (!mkdtemp(dir) || !(loop = loop_new()) || !(p = profile_load(yaml, sizeof(yaml) - 1, &d)) ||
        dns_new(&(struct dns_opts){ .loop = loop, .profile = p, .state_dir = dir }, &dns, &d) < 0)
        abort();
    round_of("new", 0, NAMES, per_turn, 1);
    round_of("known", 0, NAMES, per_turn, 40503);
    back();
    usleep(1100000); /* the lifetime of what was answered */
    loop_turn(loop, 0);
    round_of("recycled", NAMES, 30000, per_turn, 1);
    dns_free(dns);
    loop_turn(loop, 0);
    profile_free(p);
    diag_fini(&d);
    loop_free(loop);
    snprintf(file, sizeof(file), "%s/fakeip", dir);
    unlink(file);
    rmdir(dir);
}

int main(void)
{
    log_threshold = LOG_SILENT;
    run(1);
    run(64);
    return 0;
}
