/*
 * outbound.h - ways out: direct, reject, proxies, and groups that pick among them
 *
 * A new protocol is one file, one table, one line in registry.c. An outbound is const after init but for counters and a group's choice.
 * References are counted: flows hold one, so a reload never cuts them.
 */
#ifndef OUTBOUND_OUTBOUND_H
#define OUTBOUND_OUTBOUND_H

#include "configs/config.h"
#include "core/loop.h"
#include "core/pktsess.h"
#include "core/service.h"
#include "core/sock.h"

struct outbound;
struct opt_part; /* outbound/options.h, for the types */
struct opt_src;

enum out_action { OUT_PROXY, OUT_DIRECT, OUT_REJECT, OUT_REJECT_DROP, OUT_GROUP };

/* What every outbound may use. Outlives all outbounds. */
struct out_env {
    struct loop *loop;
    struct resolver *resolver;
    bool ipv6; /* dial IPv6 at all */
    const char *state_dir; /* where files that a profile names are; NULL: nowhere */
};

struct outbound_ops {
    const char *type;               /* as profiles write it: "ss" */
    const char *api_type;           /* as the control API does: "Shadowsocks" */
    enum out_action action;
    const struct cfg_field *fields; /* NULL: no options */
    const struct opt_part *parts;   /* what it has in common with other types (options.h); NULL: nothing */
    size_t size;                    /* of the struct that begins with struct outbound; fields are offsets in it */
    /* After fields and parts are read. 0; -EINVAL with an error in s->d: the entry is of no use; out_unsupported(): right, yet not for this build. */
    int  (*init)(struct outbound *o, const struct opt_src *s);
    void (*fini)(struct outbound *o);                      /* when init gave 0 */
    int  (*dial)(struct outbound *o, struct dial *d);      /* 0: d->done comes later from the loop; or -err at once. NULL: this build cannot */
    void (*cancel)(struct outbound *o, struct dial *d);    /* harmless after done */
    int  (*open_pkt)(struct outbound *o, const struct flow_meta *m, struct pktsess **out); /* NULL: no UDP */
    struct outbound *(*pick)(struct outbound *o, const struct flow_meta *m);               /* groups only: one step; never NULL */
};

struct outbound {
    const struct outbound_ops *ops;
    const struct out_env *env;
    struct out_set *set;     /* whose references keep it alive */
    const char *name;        /* borrowed from the profile */
    const char *why;         /* why it cannot be dialled (groups: no member can); NULL = it can. As long as the set */
    int32_t id;              /* position in its out_set */
    bool udp;                /* may carry UDP; groups: false when they say disable-udp */
    bool ready;              /* init gave 0: fini is due */
    uint8_t family;          /* enum opt_family: which addresses of its server (a direct: of the destination) are dialled */
    bool answered;           /* the protocol heard something true from the server, ever */
    bool clocked;            /* its server says nothing to who has another time */
    uint8_t n_unheard;       /* clocked, and answered once: flows in a row that sent and heard nothing; `answered` then: whether it did since the last */
    bool refusal_said;       /* the log has said that it cannot be dialled */
    bool unverified;         /* skip-cert-verify: nobody looks at its server's certificate */
    bool unverified_said;    /* the log has said so */
    int last_err;            /* what its server did wrong last; 0 once it has answered since */
    uint32_t hints_said;     /* which kinds of trouble the log has told of */
    const char *server;      /* proxies: name or address of the server, else NULL; borrowed from the profile */
    uint16_t port;
    const struct cfg_node *node;
    const struct out_provider *provider; /* whose member it is, or NULL */
    const char *interface;   /* interface-name, or NULL: the profile's */
    uint32_t mark;           /* routing-mark, or 0: the profile's */
    bool tfo, mptcp;
    const char *dialer;      /* dialer-proxy as written, or NULL */
    struct outbound *via;    /* what its server is dialled through: a node or a group; NULL: a socket of ours */
    struct outbound *origin; /* a link of a relay's chain: the node that it stands for; else NULL */
    struct out_record *records; /* of its delay tests: all of them first, then by url; NULL: never tested */
    uint64_t up, down, n_dials, n_failed;
};

/* All outbounds of one profile: built-ins DIRECT, REJECT, REJECT-DROP, PASS, PASS-RULE, COMPATIBLE; proxies; groups; and GLOBAL (a select over every
 * proxy and group, made when the profile has none). Refcounted through its members: lives until the last flow lets go. */
struct out_set;

/* Builds from a profile, with a positioned warning for everything that is not as it should be. A node that this build cannot dial ("unsupported-proxy")
 * stays in its groups with the reason in `why`; an entry that makes no sense is left out of them. NULL only without memory. p must live until the set is
 * released (the set takes p over: profile_free() is called when the last reference goes). */
struct out_set *out_set_new(struct profile *p, const struct out_env *env, struct diag *d);
/* Drops the owner's reference. */
void out_set_put(struct out_set *s);

struct outbound *out_find(struct out_set *s, const char *name); /* NULL if none; borrowed. Members of providers have no name here */
/* The same, and the first member of a provider that has the name: for the control API. */
struct outbound *out_find_any(struct out_set *s, const char *name);
/* Offers all names that out_find() knows to a search for "did you mean", but for those of entries that make no sense, and of `but` (NULL: none), which
 * asks and does not mean itself. */
void out_offer(struct out_set *s, const struct outbound *but, struct cfg_guess *g);
/* The network is another one: connections that are kept for later flows are not used for new ones any more. Flows that are on them go on. */
void out_set_moved(struct out_set *s);
/* ids 0 .. out_count()-1: what there is, in the order of the profile, whether it can be dialled or not. Entries that make no sense are found by name
 * too and have ids from out_count() on, so that a rule naming one rejects its flows (dial: -ERR_UNSUPPORTED) instead of not existing; they are in no
 * group. NULL past the end. */
struct outbound *out_at(struct out_set *s, int32_t id);
int32_t out_count(struct out_set *s);

struct outbound *out_get(struct outbound *o); /* takes a reference (on its set) */
void out_put(struct outbound *o);

#define OUT_CHAIN_MAX 8
/* Follows pick from o to a leaf. chain[0] is o, the last is the leaf; returns the length (1..OUT_CHAIN_MAX). A longer way is followed to
 * its end all the same: what does not fit is left out before the leaf, so the flow goes where the profile says. A UDP flow ends at a group that
 * says disable-udp: the last is then that group, with `udp` false. */
int out_resolve(struct outbound *o, const struct flow_meta *m, struct outbound *chain[OUT_CHAIN_MAX]);

/* On a leaf. */
int  out_dial(struct outbound *o, struct dial *d);
void out_cancel(struct outbound *o, struct dial *d);
int  out_open_pkt(struct outbound *o, const struct flow_meta *m, struct pktsess **out); /* -ERR_UNSUPPORTED without UDP */
/* Where a direct sends the datagrams for a name: the first address that it may use, its preferred family first, and to which there is a
 * way. NULL: none may be used. Sorts l. out_only(): lookup.only for it. */
const struct addr *out_choose(const struct outbound *o, struct lookup *l);
uint8_t out_only(const struct outbound *o);

/* A flow over leaf o ended after so many bytes, with what error: adds them up, and says once per proxy what may be wrong with it, also when it
 * takes data and never answers. */
void out_note_end(struct outbound *o, uint64_t up, uint64_t down, int err);
/* A flow over leaf o that goes on has sent so many bytes and waits for the first of an answer for longer than it should. */
void out_note_silence(struct outbound *o, uint64_t up);
/* Its server, or the way to it, failed. Said once for each kind of error; kept in last_err until the server answers. */
void out_note_error(struct outbound *o, int err);
/* What a person can do about last_err, static text; NULL without one. */
const char *out_hint(const struct outbound *o);

/* ---- delays: what tests of an outbound have shown ---- */

#define DELAY_URL   "https://www.gstatic.com/generate_204" /* where the profile names none */
#define OUT_RESULTS 10
#define OUT_RECORDS 8 /* urls that are remembered, of each outbound */
struct out_record {
    const char *url; /* "": every test, whatever the url */
    uint32_t n;      /* oldest first */
    struct out_result {
        int64_t unix_ms;
        uint32_t delay_ms; /* 0: it failed */
    } v[OUT_RESULTS];
    struct out_record *next;
};
/* Notes a result; groups that choose by delays see it with the next flow. Without memory it is not kept. */
void out_note_delay(struct outbound *o, const char *url, const struct out_result *r);
const struct out_record *out_record_of(const struct outbound *o, const char *url); /* NULL: never tested with that */
/* Can it be dialled, and was the last test with that url none that failed? */
bool out_alive(const struct outbound *o, const char *url);
/* Takes over what is known of nodes and groups that another set has too (the same type, name and server). */
void out_inherit_delays(struct out_set *s, struct out_set *from);

/* Groups: members in order (NULL past the end), the current choice, and choosing. out_select: 0, -ENOENT no such member, -EINVAL not
 * a group that one chooses in, -ERR_UNSUPPORTED the member cannot be dialled (its `why`). In a group that chooses by delays it pins the
 * member: used while it is alive. out_unpin: -EINVAL for what is no such group. */
struct outbound *out_member(struct outbound *group, uint32_t i);
struct outbound *out_now(struct outbound *group);
int out_select(struct outbound *group, const char *member);
int out_unpin(struct outbound *group);
const struct outbound *out_pinned(const struct outbound *group); /* NULL: none */
/* Does it choose by tests (url-test, fallback, smart, load-balance)? */
bool out_is_tested(const struct outbound *o);
/* When a flow last went through it, loop time; 0: never. */
uint64_t out_group_used(const struct outbound *group);

/* What a group says about itself and its tests; NULL for what is no group. */
struct out_group_opts {
    const char *url, *icon, *expected_status; /* never NULL */
    int64_t interval_s, timeout_ms, tolerance_ms, max_failed;
    bool lazy, hidden;
};
const struct out_group_opts *out_group_opts(const struct outbound *group);

/* Proxy providers, in the order of the profile: what was found of them at load. Index 0.. until NULL. */
struct out_provider {
    const char *name, *type;  /* "http", "file", "inline" */
    const struct cfg_node *node;
    const char *path;         /* http, file: of the stored content, below the state directory; NULL: inline, or unusable */
    const char *url, *proxy;  /* http; proxy: NULL = the rules decide */
    const char *test_url, *expected_status; /* health-check; test_url "" = none */
    int64_t interval_s, size_limit, test_interval_s, test_timeout_ms;
    bool test, test_lazy;
    int64_t stored_s;         /* when the content was written (Unix time); 0: there is none */
    const char *why;          /* why it has no members; NULL: it has */
    uint64_t used_ms;         /* when a flow last went through a member, loop time; 0: never */
    uint32_t n;
    struct outbound **members;
};
const struct out_provider *out_provider_at(const struct out_set *s, uint32_t i);
/* The file for what is fetched from a url and has no path of its own, as other clients name it: DIR/MD5-OF-URL. dir: at most 8 bytes. 0 or -EINVAL (no MD5
 * in the library). */
#define OUT_URL_FILE 48
int out_url_file(const char *dir, const char *url, char out[OUT_URL_FILE]);

/* Gives kept memory back; at exit, and for leak checks. */
void out_trim(void);

/* --- for the protocols (core of direct.c, used by every proxy) --- */

/* Connects TCP to a destination: name resolved by env->resolver (why: enum lookup_for), addresses tried Happy-Eyeballs style (RFC 8305: next
 * after 250 ms or at once on failure, families alternating, at most 10 s in all). One per dial, embedded, zeroed but for what stands above "private".
 * Calls done(tc, stream or NULL, err) once, from the loop; peer is then the address that answered. */
#define TCP_CONNECT_TRIES 4 /* under way at the same time; concurrent: as many as there are addresses */
struct tcp_connect {
    const struct out_env *env;
    struct dest to; /* to.host is the caller's until done or cancel */
    uint8_t why, family; /* enum lookup_for, enum opt_family */
    bool concurrent;     /* all addresses at once */
    struct sock_opts opts;
    uint8_t depth;       /* how many look-ups wait for it */
    void (*done)(struct tcp_connect *tc, struct stream *s, int err);
    struct endpoint peer;
    /* private */
    struct lookup lookup;
    struct timer timer;
    struct job job;
    struct tcp_try { struct io io; struct tcp_connect *tc; struct endpoint at; uint8_t nth; bool open; } tries[LOOKUP_MAX];
    struct addr addrs[LOOKUP_MAX];
    uint8_t n_addrs, next, n_open;
    uint64_t deadline_ms;
    int err; /* what to say when nothing answers */
    bool looking, running;
};
int  tcp_connect_start(struct tcp_connect *tc); /* 0: done comes later; or -err */
void tcp_connect_cancel(struct tcp_connect *tc); /* harmless when not running; no callback after */

#endif
