/*
 * sys.h - the parts of the supervisor: what it may change, what it has to know
 *
 * Private to platform/. Unless said otherwise functions return 0 or -errno, and put the reason into why (WHY_MAX bytes) when they take one.
 */
#ifndef PLATFORM_SYS_H
#define PLATFORM_SYS_H

#include "platform/ipc.h"

#define OUR_PROTOCOL 84   /* 'T': marks our routes (rtm_protocol) and rules (FRA_PROTOCOL), so that anybody can tell them from others */
#define OUR_ALIAS "shunt" /* and our device (IFLA_IFALIAS) */
#define TABLE_NAME "shunt"
#define GUARD_NAME "shunt_guard"
#define RULES_SPAN 10     /* rules take the priorities P .. P+RULES_SPAN; the last is the empty one that "leave" jumps to */

/* ---- before.c: what must hold before anything is changed ---- */

/* A file as a sealed memory file; "-" is standard input. again: while signals must be heard, so it waits for nothing, and a pipe is -ESPIPE. The
 * descriptor, or -errno, with the reason printed. */
int before_file(const char *name, bool again);
/* The same; empty when the name is NULL or there is no such file. */
int before_optional_file(const char *name, bool again);
/* What such an error means. */
const char *before_why(int err);
/* One shunt per network namespace: a descriptor that holds the place, or -1 with the reason printed (quietly: not printed). */
int before_instance(bool quietly);
/* Nobody else may run under the worker's id in this network namespace. Waits up to 1 s for a worker that is just dying. The other's pid, or 0. */
int before_foreign(uid_t uid);

/* ---- tundev.c ---- */

struct tundev {
    int fd, index;
    char name[16];
    bool vnet_hdr, csum, tso, uso;
};
/* The name the device will have: want, if it is free; the first free shuntN when want is "". */
int tundev_name(const char *want, char name[16], char *why);
/* Makes the device with every offload the kernel has; SHUNT_TUN_OFFLOAD=none|csum|tso|full lowers that. It lives as long as t->fd and its copies. */
int tundev_open(struct tundev *t, const char *name, char *why);

/* ---- plan.c: pure ---- */

enum rule_action { RULE_LOOKUP = 1, RULE_GOTO = 2, RULE_NOP = 3 }; /* FR_ACT_* of linux/fib_rules.h */
struct ip_rule {
    int ver;             /* 4 or 6 */
    uint32_t prio;
    enum rule_action action;
    uint32_t target;     /* table, or priority to go to */
    char iif[16];        /* "" = any */
    struct cidr from;    /* ver 0 = any */
    bool invert, by_uid, from_unset /* source 0.0.0.0 exactly */, suppress_default;
    uid_t uid;
    uint16_t dport;      /* 0 = any */
};

enum route_kind { ROUTE_DEVICE, ROUTE_THROW, ROUTE_UNREACHABLE };
struct route {
    struct cidr to;
    enum route_kind kind;
    uint32_t table, metric;
};

/* What is to be: from the worker's request and what was found in the system. Borrows. */
struct plan_in {
    uint32_t prio, table;
    const char *device;
    bool v6;             /* the device has an IPv6 address; IPv4 it always has */
    bool kernel_v6;      /* there is IPv6 in this kernel and namespace */
    bool strict;
    uid_t worker;
    struct cidr addr4, addr6, fake4, fake6;
    const struct cidr *include, *exclude;
    uint32_t n_include, n_exclude;
};

#define PLAN_RULES_MAX 16
struct plan {
    struct ip_rule rules[PLAN_RULES_MAX]; /* in the order in which they may be added: at no point is traffic led astray */
    int n_rules;
    struct route *routes;                 /* owned */
    uint32_t n_routes;
};
/* Zero or -ENOMEM; ended with plan_fini(), which is harmless on a zeroed plan. */
int plan_make(const struct plan_in *in, struct plan *out);
void plan_fini(struct plan *p);
bool plan_has_rule(const struct plan *p, const struct ip_rule *r);
/* of_any_kind: it is enough that the place (table, network, metric) is taken. */
bool plan_has_route(const struct plan *p, const struct route *r, bool of_any_kind);

/* ---- backoff.c: pure ---- */

#define BACKOFF_DEATHS 10
struct backoff {
    uint64_t at_ms[BACKOFF_DEATHS]; /* the last early deaths, a ring */
    unsigned n;                     /* early deaths since the last good life */
};
#define BACKOFF_GIVE_UP (-1)
/* A worker died. good: it had been ready for a second. How many ms to wait before the next, or BACKOFF_GIVE_UP. */
int backoff_died(struct backoff *b, uint64_t now_ms, bool good);

/* ---- netlink.c ---- */

struct nl;
struct nl *nl_open(void); /* NULL: no memory or no netlink */
void nl_close(struct nl *n);
int nl_device_up(struct nl *n, int index, uint32_t mtu);
int nl_address(struct nl *n, int index, const struct cidr *c); /* c with host bits */
int nl_route_add(struct nl *n, const struct route *r, int index);
int nl_route_del(struct nl *n, const struct route *r, int index);
int nl_rule_add(struct nl *n, const struct ip_rule *r);
int nl_rule_del(struct nl *n, const struct ip_rule *r);
/* Is there a rule with a priority in from..to, a route in the table, that is not ours? */
bool nl_rules_taken(struct nl *n, uint32_t from, uint32_t to);
bool nl_table_taken(struct nl *n, uint32_t table);
/* Remove what carries our mark, both families, and return how many: rules with a priority in from..to; routes of a table (0 = any); the device of that name. */
unsigned nl_remove_rules(struct nl *n, uint32_t from, uint32_t to);
unsigned nl_remove_routes(struct nl *n, uint32_t table);
unsigned nl_remove_device(struct nl *n, const char *name);

/* ---- route.c ---- */

/* Leads from one plan to another without a moment in between: what is new is added, then what is over is removed. On error everything is as in from. */
int route_switch(struct nl *n, int index, const struct plan *from, const struct plan *to, char *why);

/* ---- nft.c ---- */

struct nft;
struct nft_want {
    uid_t worker;
    const char *device;
    uint16_t dns_port; /* 0 = no redirect */
    bool dns_v6;       /* there is a socket on ::1 */
    bool refuse_v6;    /* IPv6 that is led into the device is refused there */
    bool refuse_own;   /* what the worker sends into the device is refused there */
    bool strict;       /* with the guard */
    struct cidr fake4, fake6;
    const struct cidr *include, *exclude;
    uint32_t n_include, n_exclude;
};
struct nft *nft_open(void); /* NULL: no memory, or no nf_tables in this kernel */
/* The redirect goes with it, for its table belongs to this handle; the guard stays. NULL is fine. */
void nft_close(struct nft *n);
/* Replaces whatever there was by what is wanted, in one transaction. */
int nft_apply(struct nft *n, const struct nft_want *w, char *why);
/* Would the kernel take it? Nothing is in force at any moment. */
int nft_probe(struct nft *n, const struct nft_want *w, char *why);
/* The commands nft_apply() runs; the caller frees. NULL: no memory. */
char *nft_text(const struct nft_want *w, const char *table, const char *guard);
/* Is the table there? Remove it (1, or 0 when it was not there or belongs to a living process). */
bool nft_has(const char *table);
unsigned nft_remove(const char *table);

/* ---- undo.c ---- */

enum undo_kind { UNDO_DEVICE, UNDO_RULES, UNDO_TABLE, UNDO_NFT, UNDO_RESOLVCONF, UNDO_N_KINDS };
struct undo_entry {
    enum undo_kind kind;
    char name[16];     /* of device, nft table, or interface of resolvconf */
    uint32_t from, to; /* priorities of rules; number of a routing table in from */
};
/* Starts an empty journal in the state directory; the descriptor, or -errno. */
int undo_open(const char *state_dir);
/* Writes entries and waits until the disk has them. Called before the changes are made. */
int undo_note(int journal, const struct undo_entry *e, int n);
/* Everything was taken back: removes the journal. */
void undo_close(const char *state_dir, int journal);
/* Reads whole lines of a journal into out, at most max; garbage and a torn last line are passed over. Their number. */
int undo_parse(const char *text, size_t len, struct undo_entry *out, int max);
/* Takes back what an earlier shunt left, by its journal and by our marks, and removes the journal. Prints each thing when verbose. A guard that blocks the machine may be
 * kept, so that a restart in strict mode lets nothing out. Number of things removed. */
unsigned undo_all(const char *state_dir, bool keep_guard, bool verbose);

/* ---- resolved.c, resolvconf.c: for a child that may wait; root: below which /etc and /run are, "" but for tests ---- */

enum told { TOLD_NOBODY, /* nobody there who needs it */ TOLD_BEFORE, /* all is as it should be */ TOLD_NOW, TOLD_FAILED };

/* systemd-resolved asks `server` for every name, through this link. What fails is printed; first: also what stands in the way, and its cache is emptied. */
enum told resolved_point(int link, const struct addr *server, bool first);
/* Back to what it was, if it is there; its cache is emptied. link 0: only that. */
void resolved_leave(int link);

#define RESOLVCONF_NAME "lo.shunt" /* loopback comes first for both programs of that name */
/* resolvconf puts `server` first. TOLD_NOBODY: /etc/resolv.conf is not its product. */
enum told resolvconf_point(const char *root, const struct addr *server, char *why);
int resolvconf_leave(const char *root);
/* The file itself names `server` only. TOLD_NOBODY: it names no server that would escape the device. */
enum told resolv_point(const char *root, const struct addr *server, char *why);
/* Brings back what was before, if the file is ours still: 1; 0: it is not. */
int resolv_leave(const char *root);
bool resolv_is_ours(const char *root);
/* Pure: our file for an old one; the old one for ours (NULL: it is not ours). Owned by the caller, NULL without memory. */
char *resolv_text(const char *old, const struct addr *server);
char *resolv_text_before(const char *ours);

/* ---- osdns.c ---- */

struct osdns_want {
    int link;           /* our device; 0: nobody is to be told */
    struct addr server; /* that is hijacked on it */
    bool redirected;    /* the kernel redirects queries to us */
};
struct osdns {
    const char *root;
    struct osdns_want want;
    pid_t child, prober; /* 0 = none */
    int child_fd, prober_fd, monitor; /* to be polled; -1 = none */
    uint64_t due_ms, kill_ms, last_ms;
    unsigned n_said;
    bool first;
};
void osdns_init(struct osdns *o, const char *root);
/* Tells the services, now and whenever they forgot; again after a reload. */
void osdns_begin(struct osdns *o, const struct osdns_want *w);
/* When osdns_turn() has something to do (0: only when a descriptor is readable); it does what is due and never waits. */
uint64_t osdns_due(const struct osdns *o);
void osdns_turn(struct osdns *o);
/* They forget us; waits for that, 3 s at most. */
void osdns_end(struct osdns *o);
/* Looks plat_probe_name(token) up as an ordinary program does, in a child without any right; not while another does. */
void osdns_probe(struct osdns *o, uint64_t token);

/* ---- mark.c ---- */

/* The supervisor's end is readable: answers one question. worker: its pidfd. False: the channel is of no use any more. */
bool marks_turn(int channel, int worker);
/* The worker's end, from before main. */
void marks_open(struct plat_worker *w);

/* ---- process.c ---- */

#define OWNERS_MAX 8
struct owners {
    pid_t pid[OWNERS_MAX]; /* who was found last, latest first; 0 = nobody */
    uint64_t debt_ms, at_ms; /* time spent on searches and not yet earned back; when that was true */
};
/* The process that holds a socket of that user (looked at first) and inode; 0: none that can be seen. path is then "". */
pid_t owner_find(struct owners *o, uid_t uid, uint64_t inode, char path[OWNER_PATH]);
/* The worker's side: an answer came. Whoever asked is told from the loop. */
void owner_is(struct plat_worker *w, const struct msg *m);

/* ---- system.c ---- */

/* What a worker asked for: MSG_TUN and the routes that came with it. */
struct request {
    struct msg_tun tun;
    struct cidr *routes; /* owned; the included ones, then the excluded */
};
void request_fini(struct request *r);

struct numbers {
    uint32_t prio, table;
};

struct sys {
    const char *state_dir;
    uid_t worker;
    int journal;
    struct tundev tun;   /* fd -1 = nothing built */
    bool kernel_v6, v6;  /* there is IPv6; the device has an address of it */
    int dns[4];          /* udp4, udp6, tcp4, tcp6; -1 = absent */
    uint16_t dns_port;   /* 0 = no sockets */
    struct nft *nft;
    bool nft_works;
    struct osdns osdns;
    bool installed;      /* now, plan and at are in force */
    struct request now;
    struct plan plan;
    struct numbers at, chosen; /* in force; for the request that was prepared */
    bool old_guard;      /* a guard that an earlier shunt left is still in force */
};
/* Takes back what an earlier shunt left, but for its guard, and begins a journal. Ended with sys_close(), which takes everything back. */
void sys_open(struct sys *y, const char *state_dir, uid_t worker);
void sys_close(struct sys *y);
/* Builds the device at the first start and finds out whether the rest of r is possible. Refuses, once a worker is running, what cannot change under it. On error nothing is
 * changed. Afterwards tun, dns, nft_works and chosen are what the worker may hear. */
int sys_prepare(struct sys *y, const struct request *r, bool running, char *why);
/* A bound socket of the worker's on a port that needs privilege, listening if it is TCP. The descriptor, or -errno. */
int sys_listen(struct sys *y, const struct endpoint *at, bool udp);
/* Puts r, which was prepared last, in force in the place of what is. On success *r is handed over; on error all is as before. */
int sys_switch(struct sys *y, struct request *r, char *why);

#endif
