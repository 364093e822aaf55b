/*
 * private.h - what the files of engine/ share
 *
 *   flow        the record of one flow, TCP or UDP: who, where to, which rule, which way, how much (flow.c)
 *   tcp_flow    a flow with two streams and a relay (dispatch.c)
 *   udp_pair    a flow made of datagrams from one source to one destination (udp.c)
 *   verdict     the answer of the rules (policy.c)
 *   source      how much a host of the LAN has open (source.c)
 */
#ifndef ENGINE_PRIVATE_H
#define ENGINE_PRIVATE_H

#include "core/list.h"
#include "core/map.h"
#include "core/relay.h"
#include "dns/dns.h"
#include "engine/engine.h"
#include "engine/sniffer.h"
#include "engine/ways.h"

/* ---- verdict ---- */

struct verdict {
    struct rule *rule;     /* NULL: the mode decided, or nothing matched */
    const struct rule *by; /* whose target it is: rule, or one of the list that a SUB-RULE opened */
    struct outbound *chain[OUT_CHAIN_MAX];
    int n_chain; /* 0: a rule with an unknown target, or without its data in strict mode: to be rejected */
    enum out_action action;
};

/* Decides by mode and rules, or says which fact is needed first: NEED_ADDRESS: set m->dst.at.ip or pos->ip_failed; NEED_PROGRAM: set
 * pos->proc_tried, and m->proc if it was found; then call again. */
enum need { NEED_NOTHING, NEED_ADDRESS, NEED_PROGRAM };
enum need policy_decide(struct policy *p, enum mode mode, const struct flow_meta *m, struct rule_pos *pos, struct verdict *v);
/* The way through an outbound or group, whatever the rules say; none of that name: a verdict that rejects. */
void policy_by_name(struct policy *p, const char *name, const struct flow_meta *m, struct verdict *v);
struct policy *policy_get(struct policy *p);
/* The same profile and outbounds again, without rules yet; policy_build() then makes them and the lists from the files as they are now, in
 * any thread. false: no memory, or an error in d. near: as specs_init(). */
struct policy *policy_again(struct policy *old);
bool policy_build(struct policy *p, const struct out_env *env, const char *near, struct diag *d);

/* ---- flow ---- */

enum flow_state {
    FLOW_NAME,    /* finding out which name is behind the address */
    FLOW_MATCH,   /* waiting for the rules, perhaps for an address they asked for */
    FLOW_DIAL,    /* an outbound is connecting */
    FLOW_RELAY,   /* both ends live */
    FLOW_CLOSING, /* ends are shut; freed at the end of this turn */
    FLOW_N_STATES
};

struct flow {
    struct list_head node; /* engine.flows, oldest first */
    struct engine *eng;
    struct policy *pol; /* a reference: rule and chain live in it */
    uint64_t id;
    uint8_t state; /* changed only by flow_set_state() */
    uint8_t n_chain;
    bool pinned; /* meta.orig is a fake address that we keep from being reused */
    bool held;   /* source.c: counted among those not answered yet */
    int err;     /* why it ended; 0 = in order */
    struct flow_meta meta;
    char *host; /* owns; what meta.dst.host points to */
    struct rule *rule;
    struct outbound *chain[OUT_CHAIN_MAX];
    uint64_t up, down, born_ms;
    int64_t born_unix_ms;
    void (*kill)(struct flow *f, int err);
    struct source *source; /* NULL: of this machine */
    struct program *program; /* owns; what meta.proc points to */
    char *sniffed;           /* owns; what meta.sniffed points to */
};

/* Fills a new record and links it; copies the name. 0 or -ENOMEM; -ERR_LIMIT or -ERR_DROP (answer nothing) when its source has too many. */
int flow_init(struct flow *f, struct engine *e, const struct flow_meta *m);
/* Unlinks and releases all it holds; logs the flow's line and keeps it among the closed ones when it ever was matched. */
void flow_fini(struct flow *f);
void flow_set_state(struct flow *f, enum flow_state s);
/* Finds the program behind a flow (program.c). true: known(f) comes later, from the loop, with meta.proc as far as it could be found; false:
 * there is no more to know than meta.proc says now. */
bool flow_ask_program(struct flow *f, void (*known)(struct flow *f));
/* Which protocols to look for in a flow that begins: SNIFF_..., 0 = none. */
unsigned flow_wants_look(const struct engine *e, const struct flow_meta *m);
/* A name was found in its first bytes. override: it is the destination, too; else the rules alone see it. 0 or -ENOMEM. */
int flow_take_name(struct flow *f, const char *host, bool override);
/* No known() any more; harmless when none is to come. */
void flow_forget_program(struct flow *f);
void program_free(struct program *p);
/* Takes over what the rules said; counts the hit. */
void flow_set_verdict(struct flow *f, const struct verdict *v);
static inline struct outbound *flow_leaf(const struct flow *f)
{
    return f->n_chain ? f->chain[f->n_chain - 1] : NULL;
}

/* What a host of the LAN has open (source.c). enter: as flow_init(); answered: it is not held any more; leave: it ended. */
int source_enter(struct engine *e, struct flow *f);
void source_answered(struct flow *f);
void source_leave(struct engine *e, struct flow *f);

/* Finds the name behind m's destination: fake addresses become names. 0, or -ERR_NAME when a fake address has no name. The name
 * lives until the next turn. */
int name_of(struct engine *e, struct flow_meta *m);
/* The same, and what hosts says of the name is not looked at. */
int name_behind(struct engine *e, struct flow_meta *m);
/* That a flow is refused because it goes to such an address. */
void say_nameless(const struct flow_meta *m);
bool is_hijacked(const struct engine *e, const struct endpoint *dst);

/* ---- engine ---- */

#define CLOSED_MAX 256

struct rate {
    uint64_t sec;        /* the second being filled (ms / 1000) */
    uint64_t now_up, now_down, last_up, last_down;
};

struct udp_table {
    struct map pairs, sessions;
    uint32_t n_pairs, n_sessions;
};

struct ping_table {
    struct list_head all;
    uint32_t n;
    bool possible;
};

/* Does this machine ask us? See probe.c. */
struct probe {
    struct timer timer;
    bool waits; /* for the query */
    enum eng_asked asked;
};

struct engine {
    struct loop *loop;
    struct plat_worker *worker;
    const char *profile_name, *state_dir, *version;
    struct policy *pol;
    struct diag diag;
    struct cfg_input local; /* a copy of what was last in use, for a profile that comes by the API */
    enum mode mode;
    struct out_env env;
    struct dns *dns;
    struct dialer ways; /* to name servers */
    struct stack *stack;
    struct flow_sink sink;
    struct plat_tun_got tun;
    struct cidr own4, own6;
    uint32_t n_hijack;
    struct endpoint *hijack; /* ip.ver 0 = any destination on port 53 */

    struct list_head flows;
    uint32_t n_flows, max_flows, n_tcp;
    uint64_t next_id, up_total, down_total;
    uint8_t uuid_key[8];
    struct flow *closed[CLOSED_MAX]; /* ring of kept records */
    uint32_t closed_at;
    struct cfg_input body;   /* owns: the profile's bytes, to be read again when its providers change */
    struct refresh *refresh; /* providers (refresh.c) */
    struct health *health;   /* delay tests (health.c) */
    struct plat_network network;
    struct rate rate;
    struct barren barren;
    struct map sources;      /* hosts of the LAN with flows */
    uint64_t source_said_ms;
    struct udp_table udp;
    struct ping_table ping;
    struct probe probe;
};

void eng_count(struct engine *e, struct flow *f, uint64_t up, uint64_t down);
void conns_init(struct engine *e);
void conns_fini(struct engine *e);
void conns_keep(struct engine *e, struct flow *f);

void tcp_sink(struct flow_sink *sk, struct stream *local, const struct flow_meta *m);
/* A flow of our own begins. local is handed over, open. proxy: the outbound or group it goes by; NULL: mode and rules decide. Unless
 * anywhere, private addresses are refused (-ERR_RULE): a stranger's profile must not make us ask what only we can reach. */
void tcp_inner(struct engine *e, struct stream *local, const struct flow_meta *m, const char *proxy, bool anywhere);
void udp_sink(struct flow_sink *sk, const struct flow_meta *m, const void *buf, size_t len);
bool ping_sink(struct flow_sink *sk, const struct addr *src, const struct addr *dst, const void *icmp, size_t len);
int udp_init(struct engine *e);
void udp_fini(struct engine *e);
void ping_init(struct engine *e);
void ping_fini(struct engine *e);

/* Providers (refresh.c). set: those of the policy in use. */
int refresh_init(struct engine *e);
void refresh_fini(struct engine *e);
int refresh_set(struct engine *e);
/* Bytes of a file that outlive the caller's. in NULL: nothing. 0 or -ENOMEM. */
int input_copy(const struct cfg_input *in, struct cfg_input *out);
void input_free(struct cfg_input *in);
/* Puts a policy in force that was built beside the one in use (engine.c); p is handed over, *d emptied. rules: only they and the lists are
 * other, flows and outbounds go on as they are. */
void eng_adopt(struct engine *e, struct policy *p, struct diag *d);
void eng_adopt_rules(struct engine *e, struct policy *p, struct diag *d);
void probe_start(struct engine *e); /* at the start, and again after a reload */
void probe_stop(struct engine *e);

void selected_load(struct engine *e);
void selected_save(struct engine *e, const char *group, const char *member); /* NULL: none any more */

#endif
