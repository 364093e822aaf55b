/*
 * dns.h - names: fake-IP pool, real resolver, and the server that answers the machine
 *
 * Three parts behind one object. Clients' queries are answered in the order hosts, fake-IP, resolver; inner look-ups (rules, DIRECT dials,
 * node names) go to the resolver only and never see a fake address. Reference: dns.md.
 */
#ifndef DNS_DNS_H
#define DNS_DNS_H

#include "configs/config.h"
#include "core/loop.h"
#include "core/service.h"
#include "rules/rules.h"

struct dns;

/* The lists of names and addresses in a profile, compiled: made in any thread, for they may be long. env: the rule providers and geo files
 * that they name, borrowed for the call; NULL = there are none. What cannot be used is skipped with a warning. Counted; NULL: no memory. */
struct dns_lists;
struct dns_lists *dns_lists_new(const struct profile *p, const struct rules_env *env, struct diag *d);
void dns_lists_put(struct dns_lists *l);

struct dns_opts {
    struct loop *loop;             /* NULL: only judged; nothing may be asked */
    const struct profile *profile; /* borrowed until dns_free or dns_reconfigure */
    struct dns_lists *lists;       /* counted; NULL: made here, of what the profile itself says */
    const char *state_dir;         /* fake-IP log lives here; NULL = memory only */
    const char *root;              /* below which /etc and /run are looked for; borrowed, NULL = "" */
    struct dialer *ways;           /* how servers are reached by a stream; borrowed. NULL: such servers are not asked */
    /* dns.listen has a port that this process may not open: asks who may. dns_listening() comes, or it returns -errno. NULL: nobody may. */
    int (*privileged)(void *arg, const struct endpoint *at, bool udp);
    void *arg;
};

/* Returns 0 and *out, or -err. */
int dns_new(const struct dns_opts *o, struct dns **out, struct diag *d);
/* Takes another profile (reload), or the same one with other lists: the fake-IP pool is kept, the cache is flushed. 0, or -err and nothing
 * changed. */
int dns_reconfigure(struct dns *d, const struct profile *p, struct dns_lists *lists, struct diag *diag);
void dns_free(struct dns *d);

/* The resolver for inner look-ups; lives as long as d. */
struct resolver *dns_resolver(struct dns *d);
/* Forgets real answers: the network changed, or somebody wants it. */
void dns_flush(struct dns *d);

/* By which ways (fragments of name servers that name a proxy or group) the address of a node's server would be asked for: at most max.
 * Borrowed until the next reload. */
struct dns_way {
    const char *server, *via;
};
unsigned dns_ways_to(const struct dns *d, const char *host, struct dns_way *out, unsigned max);
/* --- serving --- */

/* Serves on sockets that the caller owns and opened (non-blocking): n_udp UDP and n_tcp listening TCP sockets (the redirect target on
 * loopback). 0 or -err. */
int dns_serve_fds(struct dns *d, const int *udp, int n_udp, const int *tcp, int n_tcp);
/* Opens and serves dns.listen ("ADDRESS:PORT", ":PORT"; NULL: no more), in place of what was served before. What cannot be opened is only
 * logged. */
int dns_serve_listen(struct dns *d, const char *listen);
/* The socket that `privileged` was asked for, handed over; or -errno. */
void dns_listening(struct dns *d, const struct endpoint *at, bool udp, int fd);
/* Serves DNS over TCP (2-byte lengths) on an accepted stream, which is handed over (hijacked TCP port 53 of the TUN). */
void dns_serve_stream(struct dns *d, struct stream *s);

/* Who answered a question. */
enum dns_how {
    DNS_BY_SELF, /* known without asking: a reverse name of ours, IPv6 that is off, an error */
    DNS_BY_HOSTS,
    DNS_BY_FAKE,
    DNS_BY_CACHE,
    DNS_BY_OLD, /* kept, and over: no server answered in time */
    DNS_BY_SERVER,
    DNS_BY_NOBODY /* no server answered */
};
extern const char *const dns_how_names[]; /* "self", "hosts", "fake-ip", "cache", "old", "server", "nobody" */
struct dns_answered {
    enum dns_how how;
    const char *server; /* as the profile writes it, without a password; or NULL */
    uint32_t ms;        /* it took */
};

/* One query as a datagram, answered by reply() at once or later (not at all for junk; with len 0 by dns_free). reply's
 * arguments live during the call; the message is at most what the client takes (truncated with TC set otherwise). client NULL: it came by a
 * stream. */
struct dns_client {
    void (*reply)(void *arg, const struct endpoint *client, const struct endpoint *server, const void *msg, size_t len,
                  const struct dns_answered *by);
    void *arg;
    bool real; /* neither hosts nor fake addresses: what the name servers say */
};
void dns_query(struct dns *d, const void *msg, size_t len, const struct dns_client *c, const struct endpoint *client,
               const struct endpoint *server);

/* Whoever asks for this name (copied; lower case) is told that there is no such name, and seen() is called, until another one is expected (NULL:
 * none). */
void dns_expect(struct dns *d, const char *name, void (*seen)(void *arg), void *arg);

/* --- messages in words --- */

#define DNS_ASK_MAX 512
/* Builds a query. name: any case, with or without the final dot. Its length, 0 when it is no name. */
size_t dns_make_query(const char *name, uint16_t type, uint8_t out[DNS_ASK_MAX]);
/* "AAAA", "TYPE65", "65": 0 when it is none. */
uint16_t dns_type(const char *word);
/* buf has room for "TYPE65535". Returns buf, or static text. */
const char *dns_type_name(uint16_t type, char buf[16]);

/* One record, or the question (section 0: ttl and data are nothing). Lives during the call. */
struct dns_record {
    int section; /* 0 question, 1 answer, 2 authority, 3 additional */
    const char *name;
    uint16_t type, class_;
    uint32_t ttl;
    const char *data; /* as master files write it; what has no words as \# LENGTH HEX (RFC 3597) */
};
/* Calls fn for all, OPT left out; what is malformed ends it. */
void dns_records(const void *msg, size_t len, void (*fn)(void *arg, const struct dns_record *r), void *arg);

/* The name that somebody asked for and was told this real address, not long ago; NULL: nobody, or mode `normal`. Valid until the next turn
 * of the loop. */
const char *dns_real_name(struct dns *d, const struct addr *a);

/* --- fake addresses --- */

/* Is a in a fake range (the device's own addresses excluded)? */
bool dns_is_fake(const struct dns *d, const struct addr *a);
/* The name behind a fake address, or NULL when unknown. Valid until the next turn of the loop; marks it used. */
const char *dns_fake_name(struct dns *d, const struct addr *a);
/* A pinned address is not given to another name. Calls are counted. Unknown addresses are ignored. */
void dns_fake_pin(struct dns *d, const struct addr *a);
void dns_fake_unpin(struct dns *d, const struct addr *a);
void dns_fake_usage(const struct dns *d, uint32_t *used, uint32_t *size);

/* Forgets all names but those of live flows. 0, or -ENOENT when there is no pool. */
int dns_fake_flush(struct dns *d);

#endif
