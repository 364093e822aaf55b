/*
 * engine.h - the story of a flow: name, match, dial, relay
 *
 * A policy is everything a profile says about where flows go (outbounds, rules), built and checked without touching anything: `check` and
 * `explain` stop there. An engine carries traffic with a policy, and swaps it for another while flows live on.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "configs/config.h"
#include "core/arena.h"
#include "core/flow.h"
#include "core/work.h"
#include "engine/provider.h"
#include "outbound/outbound.h"
#include "platform/platform.h"
#include "rules/rules.h"
#include "tun2socks/tun2socks.h"

/* ---- policy ---- */

struct policy {
    struct profile *profile;
    struct out_set *outs;
    struct ruleset *rules;
    struct matcher *hosts;   /* keys of `hosts`, numbered as in the profile; NULL: no key stands for another name */
    const char **alias;      /* the name a key stands for, lower case, or NULL */
    struct arena mem;        /* of those names */
    struct sniffer *sniffer; /* NULL: no bytes are looked at */
    struct dns_lists *lists; /* for the resolver */
    struct specs *specs;     /* what it has elsewhere (provider.h) */
    unsigned refs;
    struct loop *loop; /* of the engine where it is in force; NULL: it never was */
    struct work last;  /* its end: rules are freed by a thread */
};

/* Loads a profile and the local file (or NULL): every problem is in d. Returns a policy even with warnings; NULL when there are errors. env may be
 * NULL for check and explain (nothing can be dialled then). policy_put() releases. */
struct policy *policy_load(const struct cfg_input *body, const struct cfg_input *local, const struct out_env *env, struct diag *d);
/* The same for who only wants to know: returns what could be built although d has errors. It must not carry traffic. */
struct policy *policy_judge(const struct cfg_input *body, const struct cfg_input *local, const struct out_env *env, struct diag *d);
/* In any thread, if it never was in force. */
void policy_put(struct policy *p);
/* What the profile says about names and name servers, judged (an engine does that by itself). */
void policy_check_dns(struct policy *p, struct diag *d);
/* The name that `hosts` puts in place of a name (lower case), or the name itself. As long as p or host. */
const char *policy_alias(const struct policy *p, const char *host);

enum explain_action { EXPLAIN_PROXY, EXPLAIN_DIRECT, EXPLAIN_REJECT, EXPLAIN_REJECT_DROP, EXPLAIN_NONE };

/* What would happen to a flow. Facts in, answer out; pointers borrowed from the policy. */
struct explain {
    struct flow_meta meta;      /* in */
    enum mode mode;             /* in */
    struct addr answer[LOOKUP_MAX]; /* in: what a look-up of the name would give */
    int n_answer;               /* in: 0 = the look-up fails */
    bool may_ask;               /* in: stop with EXPLAIN_NEED_IP semantics: see asks */
    bool asks;                  /* out: only with may_ask: an address is needed; fill answer, clear may_ask, call again */
    const struct flow_proc *proc; /* in: what a look-up of the program would give, NULL = nothing; meta.proc stays NULL */
    const char *asked;          /* out: the name before `hosts` gave it another, else NULL */
    const struct rule *rule;    /* out: NULL = no rule (mode, or nothing matched) */
    const struct rule *by;      /* out: whose target it is: rule, or one of a list of sub-rules */
    struct outbound *chain[OUT_CHAIN_MAX];
    int n_chain;
    enum explain_action action;
    bool needed_ip, resolved;   /* out: a rule wanted the address; it was used */
    bool needed_proc;           /* out: a rule wanted the program */
    char note[512];             /* out: why a fact was needed, what is odd; "" = nothing */
};
void policy_explain(struct policy *p, struct explain *x);
/* The way in of a flow to be explained: a word of IN-TYPE, or "mixed". false: there is no such word. */
bool explain_via(struct explain *x, const char *word);

/* ---- engine ---- */

struct engine;

struct eng_opts {
    struct loop *loop;
    struct plat_worker *worker;  /* already past plat_worker_init */
    const char *state_dir;
    const char *version;
};

/* Loads the profile, and over it the local file (NULL = none), asks the supervisor for the TUN, starts stack, resolver and DNS service.
 * Returns 0 and *out, or -err with everything printed on stderr. Traffic flows after plat_worker_ready(). The names of the files must live as
 * long as the engine. */
int eng_new(const struct eng_opts *o, const struct cfg_input *profile, const struct cfg_input *local, struct engine **out);
void eng_free(struct engine *e);
/* After plat_worker_ready(): the mode a person chose holds on, also when this worker took the place of one that died. */
void eng_resume(struct engine *e);
/* Parses and checks everything first, then swaps; flows live on. local NULL: the local file that was last in use. offered: the files came from the
 * supervisor (on_reload), which keeps them for a worker to come and puts their routes in force; any other is used until the next reload or restart,
 * and its routes are not. -EINVAL: the old one keeps running, and d, the caller's to print and free, says why; it borrows bytes and names. */
int eng_reload(struct engine *e, const struct cfg_input *profile, const struct cfg_input *local, bool offered, struct diag *d);
/* Asks the supervisor to read its files again, as on SIGHUP; they come later, by on_reload or on_unread of the worker. 0 or -err. */
int eng_read_again(struct engine *e);
/* The file that the supervisor reads: what eng_new() was given. */
const char *eng_file(struct engine *e);

struct loop *eng_loop(struct engine *e);
struct policy *eng_policy(struct engine *e);      /* borrowed until the next reload */
const struct profile *eng_profile(struct engine *e);
struct dns;
struct dns *eng_dns(struct engine *e);
/* A socket for dns.listen that plat_worker_listen() was asked for: handed over, or -errno. */
void eng_listening(struct engine *e, const struct endpoint *at, bool udp, int fd);
enum mode eng_mode(const struct engine *e);
void eng_set_mode(struct engine *e, enum mode m); /* new flows at once */
/* Chooses in a select group and remembers it (state file) when profile.store-selected. As out_select(). */
int eng_select(struct engine *e, struct outbound *group, const char *member);

enum eng_asked { PROBE_UNKNOWN, PROBE_YES, PROBE_NO };
struct eng_status {
    uint64_t uptime_ms, up_total, down_total; /* bytes of application payload */
    uint64_t up_rate, down_rate;              /* bytes in the last full second */
    struct plat_tun_got tun;
    const char *profile_name;     /* of the body in use; borrowed until the next reload */
    char dns_listen[ENDPOINT_STRLEN];
    uint32_t fake_used, fake_size;
    enum eng_asked system_asks;               /* did a look-up by the system's own resolver reach us? */
    uint32_t n_flows;
    struct stack_stats stack;
    bool ping_direct;                         /* true echo replies are possible */
    int supervisor_pid;
};
void eng_status(struct engine *e, struct eng_status *st);
/* Warnings of the loaded profile (what was skipped), borrowed until the next reload. */
const struct diag *eng_diag(struct engine *e);

/* Rule and proxy providers and geo databases. The first as providers_each(), the second as providers_refresh(); size: entries of a rule provider. */
void eng_each_provider(struct engine *e, void (*fn)(void *arg, const struct provider_view *v), void *arg);
int eng_refresh_provider(struct engine *e, enum provider_kind kind, const char *name, struct provider_wait *w);
uint32_t eng_provider_size(struct engine *e, const char *name);

/* Delay tests now, of as many outbounds as are to be tested. Embedded, zeroed but for done, v and n; v is the caller's. All of one set. */
struct eng_delays {
    void (*done)(struct eng_delays *d); /* once, from the loop */
    struct eng_delay {
        struct outbound *o;
        int err;     /* result: 0, or why there is none */
        uint32_t ms; /* at least 1 */
    } *v;
    uint32_t n;
    struct batch *batch; /* private */
};
struct eng_delay_how {
    const char *url, *expected; /* status codes, as the profile writes them; NULL: all */
    unsigned timeout_ms;        /* of each; 0: 5 s */
};
/* 0; -EINVAL: url or expected are none; -ENOMEM. done is not called then. */
int eng_delays_start(struct engine *e, struct eng_delays *d, const struct eng_delay_how *how);
void eng_delays_cancel(struct eng_delays *d); /* harmless when nothing runs; no done after */
/* A pinned member (url-test, fallback) is let go, and the file forgets it. 0; -EINVAL: no such group. */
int eng_unpin(struct engine *e, struct outbound *group);

/* One live (or just closed) flow as others see it; pointers live until the next turn of the loop. */
struct conn_view {
    uint64_t id;               /* never reused */
    uint8_t uuid[16];
    struct flow_meta meta;
    uint64_t up, down;
    int64_t start_unix_ms;
    uint64_t age_ms;
    const char *rule_type;     /* profile spelling, "" when none */
    const char *rule_api;      /* API spelling */
    const char *rule_payload;
    const char *chain[OUT_CHAIN_MAX]; /* outermost group first, leaf last */
    int n_chain;
    const char *dns_mode;      /* "fake-ip", "redir-host", "normal" */
    struct endpoint remote;    /* address really dialled, if known */
    const char *state;         /* "name", "match", "dial", "relay", "closing" */
};
/* Calls fn for every live flow; closed ones (newest 256) when closed is set. */
void eng_each_flow(struct engine *e, bool closed, void (*fn)(void *arg, const struct conn_view *v), void *arg);
/* Ends a flow by UUID (16 bytes), or all when uuid is NULL; number ended. */
unsigned eng_kill(struct engine *e, const uint8_t *uuid);

/* Explains with the engine's own mode, its own names of addresses and, unless the answer is given, its own resolver: done() is called once. */
struct eng_explain {
    struct explain x;
    char host[HOST_MAX + 1]; /* private: the name behind an address */
    struct lookup lookup;
    struct engine *e;
    struct policy *pol;
    void (*done)(struct eng_explain *q); /* may free it */
};
void eng_explain(struct engine *e, struct eng_explain *q);
/* One whose answer is still to come is answered now, as if its name did not resolve: done() is called from inside. */
void eng_explain_hurry(struct eng_explain *q);

#endif
