/*
 * private.h - what the files of outbound/ share
 *
 *   registry.c  the types a profile may name          set.c    building from a profile, finding, references
 *   node.c      one entry to one node                 group.c  groups
 *   options.c opt_*.c                                 what entries of many types say alike
 *   connect.c   names and addresses to one socket     dial.c   dialling, counters, the way over one TCP connection
 *   direct.c reject.c ss.c socks5.c ...               one type each; known*.c: types that are only read
 *   under.c     what lies between a type and the wire grpc_pool.c  connections that many calls share
 *   pktstream.c datagrams over streams                named.c  names for datagrams that go to addresses only
 *   pick.c      what a group chooses                  delay.c  what tests have shown, and choices by that
 *   hint.c      what may be wrong with a node         roots.c  certificates that a profile gives
 *   atyp.c pktq.c                                     small helpers
 */
#ifndef OUTBOUND_PRIVATE_H
#define OUTBOUND_PRIVATE_H

#include "core/arena.h"
#include "core/map.h"
#include "outbound/outbound.h"

/* ---- types ---- */

extern const struct outbound_ops direct_ops, compatible_ops, reject_ops, reject_drop_ops, pass_ops, pass_rule_ops;
extern const struct outbound_ops ss_ops, socks5_ops, http_ops, vmess_ops, vless_ops, trojan_ops, anytls_ops;
extern const struct outbound_ops ssr_ops, snell_ops, ssh_ops, mieru_ops, sudoku_ops, trusttunnel_ops, gost_relay_ops, dns_ops, rematch_ops;
extern const struct outbound_ops hysteria_ops, hysteria2_ops, tuic_ops, shadowquic_ops, masque_ops;
extern const struct outbound_ops wireguard_ops, openvpn_ops, tailscale_ops, zerotier_ops;

/* The type a profile names (letter case ignored), or NULL. */
const struct outbound_ops *registry_find(const char *type);
/* "did you mean" for a type that is none (configs/config.h); lives in g. */
const char *registry_guess(struct cfg_guess *g, struct diag *d, const char *type);

/* The fields that every type with a server begins with. */
#define OUT_SERVER_FIELDS                                                                        \
    { "server", CFG_HOST, offsetof(struct outbound, server), CFG_REQUIRED, .help = "name or address" }, \
    { "port", CFG_PORT, offsetof(struct outbound, port), CFG_REQUIRED }

/* Says why this build cannot dial a node, and returns -ERR_UNSUPPORTED: for init. */
int out_unsupported(struct outbound *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* An HTTP answer of its server that means no: out_note_error(err) with what it said (made safe) in the log. */
void out_note_answer(struct outbound *o, int err, const char *said);
/* A name for people: control bytes escaped, cut to fit. Returns buf. */
#define OUT_NAME_MAX 128
const char *out_quote(const char *name, char buf[OUT_NAME_MAX]);

/* ---- sets ---- */

struct named {
    struct map_node node;
    struct outbound *o;
};

struct out_set {
    uint32_t refs;
    struct profile *profile; /* owns */
    const struct out_env *env;
    struct arena arena;      /* all outbounds and names */
    struct map names;        /* struct named */
    struct map foreign;      /* struct named: members of providers */
    struct outbound **live;  /* by id */
    struct outbound **broken; /* by id - n_live: entries that make no sense */
    int32_t n_live, n_broken;
    uint32_t room;           /* of live */
    struct out_provider *providers;
    uint32_t n_providers;
    struct content { struct cfg_doc *doc; struct content *next; } *contents; /* of providers; owns */
    struct tls_roots *roots; /* NULL: the system's alone */
    uint32_t n_results;      /* of delay tests so far, and changes of mind: what groups chose before is old */
    struct map chains;       /* struct chain: links of relays, made when first used */
    uint32_t n_chains;
    struct list_head pools;  /* struct grpc_pool: connections that are kept */
};

/* A zeroed outbound of a type in the set's arena; not yet in the set. NULL without memory. */
struct outbound *set_make(struct out_set *s, const struct outbound_ops *ops, const char *name, const struct cfg_node *node);
/* Reads the entry o->node into o. 0: a node, maybe one that cannot be dialled (o->why); -EINVAL: of no use (o->why too); -ENOMEM. Everything is said
 * in d, with the node's name. path: "proxies[3]". */
int node_read(struct outbound *o, const char *path, struct diag *d);
/* Hands on what was said about one entry, its name in front ("proxy", "group"). error_end: what an error means for the entry. What stands elsewhere
 * (out_place) is told at the entry. */
void out_tell(const struct diag *mine, const char *kind, const char *name, const struct cfg_node *entry, const char *path, const char *error_end,
              struct diag *d);
/* Where a message about a value of an entry belongs: at the value, but at the entry itself when the value stands before it. Then it came by an alias or a
 * merged map, others may have it too, and each is to be found. */
const struct cfg_node *out_place(const struct cfg_node *entry, const struct cfg_node *value);

/* ---- groups ---- */

enum balance { BALANCE_HASH, BALANCE_ROUND_ROBIN, BALANCE_STICKY };

struct group {
    struct outbound o;
    const struct cfg_entry *entry; /* NULL: GLOBAL made by us */
    uint32_t index;                /* among the groups */
    struct outbound **members;
    uint32_t n_members;
    struct outbound *now;          /* the choice; where each flow chooses: what comes first */
    struct outbound *leaf;         /* where that led when the set was built */
    struct cfg_strs names, use;    /* as the profile says: see group_fields */
    struct out_group_opts opts;
    bool include_all, include_all_proxies, include_all_providers, disable_udp;
    bool starved;                  /* a provider that it uses has no content */
    const char *filter, *exclude_filter, *exclude_type, *empty_fallback, *preferred;
    int strategy;                  /* enum balance */
    uint32_t turn;                 /* round-robin */
    struct outbound *pinned;       /* url-test, fallback, smart: what the user wants; NULL: the best */
    uint32_t seen;                 /* results of the set when it chose last */
    uint64_t chosen_ms, used_ms;   /* loop time */
    struct sticky *sticky;         /* owns; made when first used */
};

/* The sort of group a profile names (letter case ignored), or NULL. group_select: what GLOBAL is. */
const struct outbound_ops *group_type(const char *type);
const char *group_guess(struct cfg_guess *g, struct diag *d, const char *type);
extern const struct outbound_ops *const group_select;
static inline struct group *group_of(const struct outbound *o)
{
    return o->ops->pick ? container_of(o, struct group, o) : NULL;
}
/* One step from each sort of group (pick.c, delay.c, relay.c). */
struct outbound *pick_now(struct outbound *o, const struct flow_meta *m);
struct outbound *pick_fastest(struct outbound *o, const struct flow_meta *m);
struct outbound *pick_first(struct outbound *o, const struct flow_meta *m);
struct outbound *pick_balance(struct outbound *o, const struct flow_meta *m);
struct outbound *pick_relay(struct outbound *o, const struct flow_meta *m);
void group_fini(struct outbound *o);

/* Nodes that stand one behind the other, at most: dialer-proxy, relay. */
#define WAY_MAX 16
void chains_fini(struct out_set *s);

/* ---- dialling ---- */

/* May datagrams go to this address? (ipv6 of the profile, ip-version of the node) */
bool out_may_use(const struct outbound *o, const struct addr *ip);
/* Those of a look-up that may be used, the preferred family first. Returns how many there are in out. */
int out_usable(const struct outbound *o, const struct lookup *l, struct addr out[LOOKUP_MAX]);

/* A datagram session for names over one that takes addresses only, which it takes over (also when it fails: -ENOMEM). why: for whom names are
 * looked up; LOOKUP_DIRECT sends to addresses that o may use only. */
int named_open(struct outbound *o, struct pktsess *below, enum lookup_for why, struct pktsess **out);

/* The PEM text that an option gives, or that is in the file below the state directory which it names. The caller's, for out_pem_free(), which
 * wipes it. 0; -EINVAL: no PEM in that file; -EXDEV and others: no such file there. */
int out_pem(const struct out_env *env, const char *source, char **text);
void out_pem_free(char *text);

/* What sockets to o's server (a direct: to the destination) are to be like, by the node and the profile. */
struct sock_opts out_sock_opts(const struct outbound *o);

/* Ends a dial: counts it and calls d->done. From the loop only. */
void out_dial_done(struct outbound *o, struct dial *d, struct stream *s, int err);

/* A stream to a node's server: by a socket of ours, or dialled through the node's `via`. Embedded, zeroed but for done and depth. */
struct carrier {
    void (*done)(struct carrier *c, struct stream *s, int err); /* once, from the loop */
    uint8_t depth;        /* of the flow it is for: how many look-ups wait for it */
    struct endpoint peer; /* a socket: the address that answered; else unset */
    /* private */
    const struct out_env *env;
    bool running, through;
    union {
        struct tcp_connect tc;
        struct { struct outbound *leaf; struct dial dial; struct flow_meta meta; } via;
    };
};
/* Who sends what o sends to its server: o itself, or what its `via` leads to. *through: by streams and sessions of that one; else by a socket as that
 * one's are (DIRECT), and the name of the server is looked up as a node's. */
struct outbound *out_sender(struct outbound *o, const struct flow_meta *m, bool *through);
/* 0: done comes later; or -err. to.host is the caller's until done or cancel. */
int carrier_start(struct carrier *c, struct outbound *o, const struct dest *to, enum lookup_for why);
void carrier_cancel(struct carrier *c); /* harmless when not running; no callback after */
/* A look-up may still be in its way: its own, or that of who dials it. */
bool carrier_asks(const struct carrier *c);

/* Puts a layer on a connected stream: 0 and *up; 1 and *up, which is on hold (core/layer.h); or -err (down stays the caller's). command: what a head
 * of the protocol calls the kind of the stream. */
typedef int out_wrap_fn(struct outbound *o, const struct dial *d, uint8_t command, struct stream *down, struct stream **up);
static inline uint8_t dial_depth(const struct dial *d)
{
    return d->meta ? d->meta->depth : 0;
}
/* The dial of every type that is "a stream to its server, and a layer on it"; of those that have no server: a bare stream to `to`; and the cancel
 * of both. 0: d->done comes later from the loop; or -err at once. */
struct under;
int link_dial(struct outbound *o, struct dial *d, struct under *u, out_wrap_fn *wrap, uint8_t command);
int link_dial_bare(struct outbound *o, struct dial *d, const struct dest *to);
void link_cancel(struct outbound *o, struct dial *d);

/* Where a node's server is. */
static inline struct dest out_server(const struct outbound *o)
{
    return (struct dest){ .at.port = o->port, .host = o->server };
}

#endif
