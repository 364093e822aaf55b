/*
 * dns_scenario.c - the resolver among name servers and clients whose every move is a byte of the input
 *
 *   clients ──► resolver ──► three servers on loopback: one by UDP and TCP, one by a stream, one for second opinions
 *
 * The input is a list of moves: a client asks, a look-up begins or is called off, a server answers (well, or with bytes changed), a
 * connection breaks, time passes, the profile changes. What must hold: every client gets one answer, which answers his question and is no
 * longer than he takes; every look-up ends once; in the end nothing is under way any more, and no socket is left. Which end that is, the
 * length of the input says: time passes; or the servers answer first; or (most lengths) the resolver goes in the middle of everything.
 *
 * Every input finds the same world: sockets are in memory (net.h), chance begins anew. The clock is the world's (dns_world.h); it stands
 * still for everybody else between two inputs. It only goes forward, to where the wheel of timers stands as it stood: far enough for 30
 * million inputs of one process. Most of an input's hundred moves are one to three bytes: -max_len=128 keeps the fuzzer from longer ones.
 */
#include "tests/fuzz/net.h"

#include <sys/stat.h>

#include "core/hash.h"
#include "core/log.h"
#include "dns/private.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/dns_ways.h"

#define MUST(what)                                                                                                                         \
    do {                                                                                                                                   \
        if (!(what))                                                                                                                       \
            abort();                                                                                                                       \
    } while (0)

#define SERVERS    3
#define CLIENTS    32
#define LOOKUPS    4
#define WAITING    24         /* queries that a server keeps until it is told to answer */
#define ANSWER_MAX 2048       /* in bytes */
#define END_MS     30000      /* by then everybody has what he gets */
#define MOVES_MAX  100
#define RELOAD_MAX 2          /* a profile costs as much as twenty other moves */
#define ROUND_MS   (1u << 19) /* after so long the wheel of timers stands as before, for all of less than eight minutes */

/* Where memory came from is hardly noted, and when it is free it is not kept for long: ASAN_OPTIONS=malloc_context_size=30 tells more. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=1:malloc_context_size=1:max_malloc_fill_size=256";
}

/* ---- chance ---- */

static uint64_t chance;

ssize_t getrandom(void *p, size_t len, unsigned flags)
{
    for (size_t i = 0; i < len; i++) {
        chance = chance * 6364136223846793005 + 1442695040888963407;
        ((uint8_t *)p)[i] = (uint8_t)(chance >> 56);
    }
    return (ssize_t)len;
}

/* ---- files: the resolver's root holds none, and c-ares asks with every channel for ids that we choose ourselves ---- */

static bool is_there(const char *path)
{
    return strncmp(path, WORLD_ROOT "/", sizeof(WORLD_ROOT)) && strcmp(path, "/dev/urandom");
}

FILE *fopen(const char *path, const char *mode)
{
    return is_there(path) ? fopen64(path, mode) : NULL;
}

int stat(const char *path, struct stat *s)
{
    return is_there(path) ? fstatat(AT_FDCWD, path, s, 0) : net_fail(ENOENT);
}

static struct dns_world w;
static struct ways_world ways;

/* ---- the servers: they keep what they are asked, and answer when the input says so ---- */

struct held {
    uint8_t query[600];
    size_t len;
    struct sockaddr_in from;
    unsigned conn; /* the number of its connection, which may be gone by now; 0: by UDP */
};
static struct ns_world servers[SERVERS];
static struct wire answer; /* the last one */
static struct held held[SERVERS][WAITING];
static unsigned n_held[SERVERS];

static void script_hold(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    unsigned i = (unsigned)(s - servers);
    struct held *h = &held[i][n_held[i]];

    MUST(len <= DNS_QUERY_MAX);
    if (n_held[i] == WAITING)
        return; /* lost on the way */
    n_held[i]++;
    memcpy(h->query, query, len);
    h->len = len;
    h->from = s->from;
    h->conn = 0;
    for (int c = 0; c < NS_CONNS && s->by_tcp; c++) /* the newest will do: whose question it is, is said by its id */
        if (s->conns[c] && s->conns[c]->nth > h->conn)
            h->conn = s->conns[c]->nth;
}

static struct ns_conn *conn_of(const struct ns_world *s, const struct held *h)
{
    for (int i = 0; i < NS_CONNS; i++)
        if (s->conns[i] && s->conns[i]->nth == h->conn)
            return s->conns[i];
    return NULL;
}

/* ---- the moves ---- */

struct moves {
    const uint8_t *p, *end;
};

static uint8_t next(struct moves *m)
{
    return m->p < m->end ? *m->p++ : 0;
}

/* What an honest server says, by the low bits of how: an address, an alias, no such name, a failure, cut short, nothing. */
static void good_answer(struct wire *out, const struct held *h, unsigned how)
{
    static const uint8_t alias[] = { 1, 'b', 4, 'r', 'e', 'a', 'l', 4, 't', 'e', 's', 't', 0 };
    uint32_t ttl = (how & 8) ? 1 : 300;

    switch (how & 7) {
    case 0:
    case 1:
        wanswer(out, h->query, h->len, 0x8180, 1, 0, 0);
        waddr(out, NULL, ttl, how & 1 ? "2001:db8::1" : "192.0.2.1");
        break;
    case 2:
        wanswer(out, h->query, h->len, 0x8180, 2, 0, 0);
        wrecord(out, NULL, 5, ttl, alias, sizeof(alias));
        waddr(out, "b.real.test", ttl, "192.0.2.2");
        break;
    case 3:
        wanswer(out, h->query, h->len, 0x8183, 0, 1, 0);
        wsoa(out, "test", ttl, 60);
        break;
    case 4: wanswer(out, h->query, h->len, 0x8182, 0, 0, 0); break;
    case 5: wanswer(out, h->query, h->len, 0x8380, 0, 0, 0); break;
    case 6: wanswer(out, h->query, h->len, 0x8180, 0, 0, 0); break;
    case 7:
        wanswer(out, h->query, h->len, 0x8180, 1, 0, 1);
        waddr(out, NULL, ttl, "10.0.0.1");
        wopt(out, 1232, 0, "", 0);
        break;
    }
}

static void change(struct wire *out, struct moves *m)
{
    uint8_t how = next(m);

    for (unsigned n = how & 15; n; n--) {
        size_t at = (size_t)next(m) << 1;

        if (out->len)
            out->b[(at + (how >> 7)) % out->len] ^= next(m);
    }
    if (how & 16)
        out->len = out->len * next(m) / 256;
    if (how & 32)
        out->len += next(m); /* what an earlier answer left there */
}

/* Its client may have gone by now. */
static void send_framed(struct ns_conn *c, const struct wire *out)
{
    uint8_t head[2] = { (uint8_t)(out->len >> 8), (uint8_t)out->len };
    struct iovec both[] = { { head, 2 }, { (void *)out->b, out->len } };

    if (sendmsg(c->io.fd, &(struct msghdr){ .msg_iov = both, .msg_iovlen = 2 }, MSG_NOSIGNAL) < 0)
        ns_conn_close(c);
}

static void serve(unsigned i, struct moves *m, bool changed)
{
    uint8_t how = next(m);
    struct ns_world *s = &servers[i];
    unsigned which = n_held[i] ? (how >> 4) % n_held[i] : 0;
    struct ns_conn *c;
    struct held h;

    if (!n_held[i])
        return;
    h = held[i][which];
    held[i][which] = held[i][--n_held[i]];
    good_answer(&answer, &h, how);
    if (changed)
        change(&answer, m);
    MUST(answer.len <= ANSWER_MAX);
    s->from = h.from;
    if (!h.conn)
        ns_send_udp(s, &answer);
    else if ((c = conn_of(s, &h)))
        send_framed(c, &answer);
}

/* Everybody gets an address, and whoever asks then. */
static void serve_all(void)
{
    struct moves none = { NULL, NULL };

    for (int turn = 0; turn < 4; turn++) {
        for (unsigned i = 0; i < SERVERS; i++)
            while (n_held[i])
                serve(i, &none, false);
        loop_turn(w.loop, 0);
    }
}

/* Bytes without a frame, or the end, on one of a server's connections. */
static void break_conn(struct ns_world *s, struct moves *m)
{
    uint8_t how = next(m), junk[32];
    size_t n = how & 31;

    for (int i = 0; i < NS_CONNS; i++) {
        if (!s->conns[i])
            continue;
        for (size_t k = 0; k < n; k++)
            junk[k] = next(m);
        if (!n || send(s->conns[i]->io.fd, junk, n, MSG_NOSIGNAL) < 0)
            ns_conn_close(s->conns[i]);
        return;
    }
}

/* ---- clients and look-ups ---- */

struct client {
    bool asks, by_stream;
    struct qkey key;
} clients[CLIENTS];

static const char *const names[] = {
    "a.real.test", "b.real.test", "fake.test", "alias.test", "p.real.test", "deep.loop.test", "4.0.18.198.in-addr.arpa", "A.Real.TEST"
};

static void on_reply(void *arg, const struct endpoint *to, const struct endpoint *from, const void *msg, size_t len,
                     const struct dns_answered *by)
{
    struct client *c = arg;
    struct answer a;

    MUST(c->asks);
    c->asks = false;
    if (!len)
        return; /* dns_free() */
    MUST(len <= (c->by_stream ? 65535u : DNS_UDP_MAX));
    MUST(msg_parse_answer(msg, len, &c->key, &a) && a.end == len);
}

static void ask(struct moves *m, uint8_t which)
{
    static const struct endpoint at = { { 4, { 10, 0, 0, 9 } }, 4321 }, to = { { 4, { 198, 18, 0, 2 } }, 53 };
    static const uint16_t types[] = { 1, 28, 65, 15 };
    static struct wire q;
    struct client *c = clients;
    uint8_t how = next(m);
    struct question asked;

    while (c < clients + CLIENTS && c->asks)
        c++;
    if (c == clients + CLIENTS)
        return;
    wquery(&q, how, names[which & 7], types[which >> 3 & 3], how & 31);
    MUST(msg_parse_query(q.b, q.len, &asked) == MSG_GOOD);
    qkey_of(q.b, &asked, &c->key);
    c->asks = true;
    c->by_stream = how & 32;
    dns_query(w.dns, q.b, q.len, &(struct dns_client){ .reply = on_reply, .arg = c, .real = how & 64 }, c->by_stream ? NULL : &at,
              c->by_stream ? NULL : &to);
}

static struct {
    struct lookup l;
    bool runs;
} lookups[LOOKUPS];

static void on_looked_up(struct lookup *l, int err)
{
    for (int i = 0; i < LOOKUPS; i++)
        if (&lookups[i].l == l) {
            MUST(lookups[i].runs && (err ? err < 0 : l->n >= 1 && l->n <= LOOKUP_MAX));
            lookups[i].runs = false;
        }
}

static void look_up(uint8_t how)
{
    struct resolver *r = dns_resolver(w.dns);
    unsigned i = how & (LOOKUPS - 1);

    if (lookups[i].runs) {
        r->cancel(r, &lookups[i].l);
        lookups[i].runs = false;
        return;
    }
    lookups[i].l = (struct lookup){ .host = names[how >> 2 & 7], .why = (uint8_t)(how >> 5) % 3, .done = on_looked_up };
    lookups[i].runs = r->lookup(r, &lookups[i].l) == 0;
}

/* ---- a scenario ---- */

static struct profile *profiles[2];
static struct dns_lists *lists[2]; /* made once: they never change */
static unsigned profile, reloads;  /* the one in force; how often it changed */
static uint64_t clock_ms;

static struct profile *profile_of(const char *fmt, ...)
{
    struct profile *p;
    va_list ap;

    va_start(ap, fmt);
    p = world_profile(&w, fmt, ap);
    va_end(ap);
    return p;
}

static void pause_clock(void)
{
    clock_ms = (world_ms / ROUND_MS + 1) * ROUND_MS;
    world_ms = 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *one = "127.0.0.1";

    log_threshold = LOG_SILENT;
    world_begin(&w);
    ways_open(&ways, &w);
    for (int i = 0; i < SERVERS; i++) {
        ns_open(&servers[i], w.loop, one, script_hold);
        servers[i].forgets = true;
    }
    profiles[0] = profile_of("proxies: [{ name: P, type: socks5, server: 192.0.2.9, port: 1 }]\n"
                             "hosts: { alias.test: a.real.test, plain.test: [ 10.0.0.1, '::1' ] }\n"
                             "ipv6: true\n"
                             "dns:\n"
                             "  enable: true\n"
                             "  ipv6: true\n"
                             "  enhanced-mode: fake-ip\n"
                             "  fake-ip-range: 198.18.0.0/28\n"
                             "  fake-ip-range6: fdfe::/64\n"
                             "  fake-ip-filter: [ '+.real.test' ]\n"
                             "  default-nameserver: [ 127.0.0.1:%u ]\n"
                             "  nameserver: [ 127.0.0.1:%u, 'tcp://ns.real.test:%u#P' ]\n"
                             "  nameserver-policy: { p.real.test: 'tcp://127.0.0.1:%u#P', '+.loop.test': rcode://refused }\n",
                             servers[0].port, servers[0].port, servers[1].port, servers[1].port);
    profiles[1] = profile_of("proxies: [{ name: P, type: socks5, server: 192.0.2.9, port: 1 }]\n"
                             "ipv6: true\n"
                             "dns:\n"
                             "  enable: true\n"
                             "  ipv6: true\n"
                             "  enhanced-mode: redir-host\n"
                             "  cache-max-size: 4\n"
                             "  nameserver: [ 127.0.0.1:%u, 'tcp://127.0.0.1:%u' ]\n"
                             "  fallback: [ 'tcp://127.0.0.1:%u#P', '127.0.0.1:%u#ecs=192.0.2.0/24&disable-reuse=true' ]\n"
                             "  fallback-filter: { geoip: false, ipcidr: [ 10.0.0.0/8 ], domain: [ b.real.test ] }\n"
                             "  direct-nameserver: [ 'tcp://127.0.0.1:%u#P&disable-reuse=true' ]\n",
                             servers[0].port, servers[1].port, servers[2].port, servers[2].port, servers[1].port);
    for (int i = 0; i < 2; i++)
        MUST((lists[i] = dns_lists_new(profiles[i], NULL, &w.d)));
    hash_bytes("", 0); /* takes its key, once */
    loop_turn(w.loop, 0);
    for (int i = 0; i < SERVERS; i++) /* libuv does not ask the kernel */
        MUST(net_of(servers[i].udp.fd)->watched && net_of(servers[i].tcp.fd)->watched);
    pause_clock();
    return 0;
}

static void move(struct moves *m)
{
    uint8_t b = next(m), arg = b >> 3;

    switch (b & 7) {
    case 0: ask(m, arg); break;
    case 1: look_up(next(m)); break;
    case 2: serve(arg % SERVERS, m, false); break;
    case 3: serve(arg % SERVERS, m, true); break;
    case 4: world_jump(&w, 1u << arg % 16); break;
    case 5: break_conn(&servers[arg % SERVERS], m); break;
    case 6:
        if (arg & 1)
            dns_flush(w.dns);
        if (arg & 2)
            dns_fake_flush(w.dns);
        if (arg & 4)
            ways.refuse = ways.refuse ? 0 : -ECONNREFUSED;
        if (arg & 8 && reloads++ < RELOAD_MAX) {
            profile = !profile;
            MUST(dns_reconfigure(w.dns, profiles[profile], lists[profile], &w.d) == 0);
        }
        break;
    case 7: loop_turn(w.loop, 0);
    }
}

static bool all_told(void)
{
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i].asks)
            return false;
    for (int i = 0; i < LOOKUPS; i++)
        if (lookups[i].runs)
            return false;
    return true;
}

static bool all_done(void)
{
    return all_told() && !w.dns->n_flights;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct moves m = { data, data + size };

    world_ms = clock_ms;
    chance = 1;
    reloads = 0;
    loop_turn(w.loop, 0);
    w.opts.profile = profiles[profile = 0];
    w.opts.lists = lists[0];
    diag_init(&w.d, "test.yaml", NULL, 0, false);
    MUST(dns_new(&w.opts, &w.dns, &w.d) == 0);
    for (int i = 0; i < MOVES_MAX && m.p < m.end; i++)
        move(&m);
    if (size % 8 == 1)
        serve_all();
    if (size % 8 < 2) {
        for (uint64_t i = 0; i < END_MS / 250 && !all_done(); i++)
            world_jump(&w, 250);
        MUST(all_done());
    }
    dns_free(w.dns);
    MUST(all_told());
    diag_fini(&w.d);
    ways.refuse = 0;
    ways.via[0] = 0;
    for (int i = 0; i < 8 && !net_is_idle(2 * SERVERS); i++) /* the servers see their clients go */
        loop_turn(w.loop, 0);
    MUST(net_is_idle(2 * SERVERS));
    memset(n_held, 0, sizeof(n_held));
    memset(answer.b, 0, ANSWER_MAX);
    pause_clock();
    return 0;
}
