/*
 * private.h - what the files of dns/ share
 *
 *   dns.c        what a query gets                  resolver.c   real answers: cache, one flight per question
 *   server.c     where queries come from            lookup.c     look-ups of our own
 *   fakeip.c     the pool                           routes.c     which servers
 *   fakelog.c    the pool's file                    race.c ns*.c the servers
 *   lists.c filter.c     lists of names             cache.c      the cache
 *   hosts.c      names written down                 msg.c        messages
 */
#ifndef DNS_PRIVATE_H
#define DNS_PRIVATE_H

#include "core/map.h"
#include "dns/cache.h"
#include "dns/dns.h"
#include "dns/fakelog.h"
#include "dns/hosts.h"
#include "dns/lists.h"
#include "dns/reverse.h"
#include "dns/routes.h"

#define IN_FLIGHT_MAX 1024
#define DEPTH_MAX     4 /* look-ups that wait for one another: deeper is a circle */

enum { LOOKUP_BOOT = LOOKUP_SERVER + 1 }; /* the name of a name server */

/* ---- resolver.c: real answers ---- */

struct flight;
struct waiter { /* embedded in who waits, zeroed but for done */
    /* Once. err 0: msg is a stripped answer with room for DNS_OPT more bytes; it may be changed and lives during the call. */
    void (*done)(struct waiter *w, int err, uint8_t *msg, size_t len);
    const uint8_t *asked;   /* a query from outside: its question, until done; NULL = a look-up of ours */
    struct dns_answered by; /* who answered; for done */
    /* private */
    struct list_head node;
    struct flight *flight;
    struct timer patience;
    uint8_t *old; /* owns: what is given when nothing better comes in time */
    size_t old_len;
};
/* Asks the real resolver; name is the key's as text, "" when it has none. Returns 1 and calls done at once (cache); 0: done comes later; or
 * -err. */
int resolve(struct dns *d, const struct qkey *k, const char *name, unsigned why, uint8_t depth, struct waiter *w);
void resolve_cancel(struct waiter *w); /* harmless when nothing is waited for */
int resolver_init(struct dns *d);
int resolver_configure(struct dns *d, const struct profile *p, struct dns_lists *lists, struct diag *diag);
void resolver_fini(struct dns *d);

/* ---- lookup.c ---- */

int lookup_init(struct dns *d);
void lookup_fini(struct dns *d);

/* ---- dns.c, server.c ---- */

void pending_drop_all(struct dns *d); /* clients that wait are not answered any more */
void server_init(struct dns *d);
void server_fini(struct dns *d);

struct dns {
    struct loop *loop;
    const struct profile *p;
    const struct profile *reading; /* while a profile is read: that one */
    uint32_t n_readings;
    char *state_dir;
    const char *root;    /* "" but for tests */
    struct dialer *ways; /* NULL: every server is asked straight */
    int (*privileged)(void *arg, const struct endpoint *at, bool udp);
    void *privileged_arg;
    struct resolver resolver;
    /* what we know */
    struct hosts *hosts;
    struct dns_lists *lists; /* a reference */
    struct reverse *reverse; /* NULL: mode normal */
    struct fakeip *fake;     /* once made, it stays */
    struct fakelog *log;     /* NULL: nothing is remembered */
    bool faking, small_said, loop_said;
    uint64_t full_said_ms;
    struct job write;  /* log, at the end of the turn */
    struct timer tend; /* log, from time to time */
    /* what we ask */
    struct list_head servers;  /* struct ns */
    struct tls_roots *roots;   /* that they may be signed by; NULL: the system's */
    struct cidr own[4];        /* nobody there but us */
    struct endpoint listen[2]; /* n_listen of them are dns.listen */
    unsigned n_listen;
    struct routes *routes;
    uint16_t next_route;
    struct cache *cache;
    struct map flights;
    uint32_t n_flights;
    struct list_head lookups;
    int64_t ipv6_timeout_ms;
    bool parallel;     /* all servers of a list at once */
    struct map firsts; /* name -> the address it keeps, for DIRECT dials */
    struct list_head by_age;
    /* whom we answer */
    struct list_head listeners, conns, pending;
    char *listen_text; /* owns; NULL = dns.listen is not served */
    char expected[64]; /* a name; "" = none */
    void (*seen)(void *arg);
    void *seen_arg;
    uint32_t n_conns, n_pending;
};

#endif
