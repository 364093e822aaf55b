/*
 * ns.h - name servers: one question, one answer, however the server is reached
 *
 *   ns_text.c   the text of a profile                       ns_plain.c    UDP and TCP, by c-ares
 *   ns.c        what all kinds share                        ns_conn.c     connections and their questions
 *   race.c      a list of servers, asked one after another  ns_stream.c   ... TCP by another way, TLS
 *   ns_system.c the system's own, DHCP's                    ns_doh.c      ... HTTPS
 *                                                           ns_connect.c  the way to a server, TLS
 */
#ifndef DNS_NS_H
#define DNS_NS_H

#include "configs/config.h"
#include "core/list.h"
#include "core/loop.h"
#include "core/service.h"
#include "core/sock.h"
#include "dns/msg.h"
#include "dns/ns_text.h"

struct dns;
struct ns;
struct tls_client;

/* ---- asking ---- */

/* A question to a server. Embedded in who asks, zeroed but for key and done. */
struct ns_ask {
    const struct qkey *key;  /* the caller's, until done or cancel */
    const uint8_t *spelling; /* of its name; NULL = as in key */
    uint8_t depth;           /* how many look-ups wait for this one */
    /* Once, from the loop; never from inside ns_ask(), never after ns_cancel(). err 0: msg is an answer to the question, parsed into a; it
     * may be changed and lives during the call. */
    void (*done)(struct ns_ask *q, int err, uint8_t *msg, size_t len, const struct answer *a);
    /* private */
    struct ns *ns;
    struct list_head node;
    struct job job;
    uint64_t asked_ms;
    uint8_t state; /* enum ask_state */
    void *priv;    /* of the kind */
};
/* 0: done comes; or -err at once. */
int ns_ask(struct ns *s, struct ns_ask *q);
void ns_cancel(struct ns_ask *q); /* harmless when it does not run */
/* Cancels a question that was overtaken by another server's answer, or (late) that nobody waits for any longer: noted against the server.
 */
void ns_give_up(struct ns_ask *q, bool late);

/* ---- a server ---- */

struct ns_ops {
    int (*ask)(struct ns *s, struct ns_ask *q); /* 0: ns_answer() comes, from the loop; or -err at once */
    void (*cancel)(struct ns *s, struct ns_ask *q);
    void (*close)(struct ns *s); /* everything is cancelled already; frees */
};

struct ns {
    const struct ns_ops *ops;
    struct dns *d;
    struct list_head node; /* dns.servers */
    unsigned refs;
    char *text; /* as the profile writes it, without a password */
    struct ns_spec spec;
    uint32_t srtt_ms;  /* smoothed time of its answers; failures make it longer */
    uint64_t heard_ms; /* when it last answered */
    bool complained;   /* its failures are in the log */
    uint32_t said_in;  /* the reading of a profile that was told what it cannot do */
    uint64_t again_ms; /* no connection is tried before: the last ones came to nothing */
    /* the addresses behind its name */
    struct lookup lookup;
    bool looking;
    struct addr addr[LOOKUP_MAX];
    int n_addr;
    uint64_t addr_until_ms;
    struct list_head waiting; /* ns_ask, for the addresses */
    struct tls_client *tls;   /* once connected: settings, and the session to resume */
};

/* The server of a text, shared with whoever has the same. NULL: a warning was given (d NULL: not), or no memory. where: line and column. */
struct ns *ns_get(struct dns *d, const char *text, uint32_t line, uint32_t column, struct diag *diag);
void ns_put(struct ns *s);

/* How its sockets leave. Valid until the next reload. */
struct sock_way ns_way(const struct ns *s);

/* The system's roots and those of a profile; NULL: the system's only. */
struct tls_roots *ns_roots(const char *state_dir, const struct cfg_strs *sources);
/* The network or the profile is another one: connections may be tried again at once, and addresses are looked for anew. */
void ns_forgive(struct dns *d);
/* Servers trust d->roots from now on: sessions that were kept are forgotten. */
void ns_trust_anew(struct dns *d);

/* For the kinds: ends a question. err 0: msg is what came, checked here. Only from the loop. */
void ns_answer(struct ns_ask *q, int err, uint8_t *msg, size_t len);
/* The query on the wire, with what the server wants in its OPT. As msg_query(). */
size_t ns_query(const struct ns_ask *q, uint16_t id, unsigned pad, uint8_t *out);

/* The kinds. NULL without memory. */
struct ns *ns_plain_new(void);
struct ns *ns_stream_new(void);
struct ns *ns_doh_new(void);
struct ns *ns_system_new(void);
struct ns *ns_rcode_new(void);

/* The servers that are written down for NS_SYSTEM or NS_DHCP right now, at most max: their number. */
unsigned ns_system_find(const struct dns *d, const struct ns_spec *n, struct endpoint *out, unsigned max);

/* ---- lists ---- */

struct ns_list {
    unsigned refs, n;
    struct ns **v;
    bool local; /* one of them is on this machine: a forwarder, whose own queries may come back to us */
};
/* From the texts of a profile; what cannot be used is skipped with a warning, exact duplicates silently. respect_rules: servers without a
 * way get RULES. NULL without memory; n may be 0. */
struct ns_list *ns_list_new(struct dns *d, const struct cfg_strs *texts, bool respect_rules, const char *path, struct diag *diag);
struct ns_list *ns_list_get(struct ns_list *l);
void ns_list_put(struct ns_list *l);

/* ---- a race ---- */

/* One question to a list: the best server first, the next after its usual time, all after a failure; the first good answer wins. Zeroed but
 * for what is said to be the caller's. */
struct race {
    const struct ns_list *list; /* the caller's */
    const struct qkey *key;
    const uint8_t *spelling;
    uint8_t depth;
    /* Once, from the loop. err 0: the first good answer, or, when there was none, the first bad one (SERVFAIL, REFUSED ...). */
    void (*done)(struct race *r, int err, uint8_t *msg, size_t len, const struct answer *a, struct ns *who);
    /* private */
    struct runner *run;
    unsigned n_started, n_running;
    struct timer next, limit;
    struct job job;
    int err;
    uint8_t *bad;
    size_t bad_len;
    struct answer bad_a;
    struct ns *bad_from;
};
int race_start(struct race *r, struct loop *l); /* 0: done comes; or -err */
void race_stop(struct race *r);                 /* harmless when it does not run */

#endif
