/*
 * sys.h - what the supervisor does to the system; every function here is privileged
 */
#ifndef PLATFORM_SYS_H
#define PLATFORM_SYS_H

#include "core/addr.h"
#include "platform/platform.h"

#define OUR_PROTOCOL 84 /* marks our routes (rtm_protocol) and rules (FRA_PROTOCOL), so that they are known again */
#define RULES_SPAN 10   /* priorities P .. P+RULES_SPAN; the last is the empty rule that "leave" jumps to */
#define TABLE_NAME "shunt"
#define GUARD_NAME "shunt_guard"
#define MARK 0x53485554 /* connection mark of the worker's flows in strict mode */

/* ---- tundev.c ---- */

struct tundev {
    int fd;
    char name[16];
    bool vnet_hdr, csum, tso, uso;
};
/* Opens a new device ("" = first free shuntN), with every offload the kernel has; SHUNT_TUN_OFFLOAD=none|csum|tso|full lowers that. 0, or -err with why. */
int tundev_open(struct tundev *t, const char *name, char why[256]);

/* ---- netlink.c ---- */

struct nl;
struct nl *nl_open(void);
void nl_close(struct nl *n);
/* Each 0 or -errno of the kernel's answer. */
int nl_link_up(struct nl *n, int index, uint32_t mtu);
int nl_address(struct nl *n, int index, const struct cidr *c); /* c with host bits */
enum route_kind { ROUTE_DEV, ROUTE_THROW, ROUTE_UNREACHABLE };
int nl_route(struct nl *n, uint32_t table, const struct cidr *to, enum route_kind kind, int index, uint32_t metric);

enum rule_action { RULE_LOOKUP = 1, RULE_GOTO = 2, RULE_NOP = 3, RULE_UNREACHABLE = 7 }; /* FR_ACT_* */
struct ip_rule {
    int ver;
    uint32_t prio;
    enum rule_action action;
    uint32_t target; /* table, or priority to go to */
    bool invert;
    const char *iif;
    struct cidr from;    /* ver 0 = any */
    bool from_unset;     /* source 0.0.0.0 exactly */
    bool by_uid;
    uid_t uid;
    uint16_t dport;
    bool suppress_default; /* suppress_prefixlength 0 */
};
int nl_rule(struct nl *n, const struct ip_rule *r);
/* Is any rule with a priority in [from, to] that is not ours? Is there any route in the table that is not ours? */
bool nl_rules_taken(struct nl *n, uint32_t from, uint32_t to);
bool nl_table_taken(struct nl *n, uint32_t table);
/* Removes every rule and route that carries OUR_PROTOCOL, both families; number removed. */
unsigned nl_remove_ours(struct nl *n);

/* ---- plan.c: pure ---- */

struct plan {
    uint32_t prio, table;
    const char *device;
    bool v4, v6; /* the device carries them */
    bool kernel_v6;
    bool strict;
    uid_t worker;
    struct cidr addr4, addr6;
};
/* Writes the policy rules (reliability section 2) into out, at most PLAN_MAX; their number. */
#define PLAN_MAX 24
int plan_rules(const struct plan *p, struct ip_rule out[PLAN_MAX]);

/* ---- nft.c ---- */

struct nft;
struct nft_want {
    uid_t worker;
    const char *device;
    uint16_t dns_port; /* 0 = no redirect */
    bool dns_v6;       /* there is a socket on ::1 */
    bool strict;
    uint32_t n_exclude;
    const struct cidr *exclude;
};
struct nft *nft_open(void);
void nft_close(struct nft *n); /* the redirect goes with it: its table is owned by this handle */
int nft_apply(struct nft *n, const struct nft_want *w, char why[256]);
/* Removes our tables that nobody owns any more; number removed. */
unsigned nft_remove_ours(void);

/* ---- undo.c ---- */

/* The journal in the state directory: one line per change, synced before the change is made. */
int undo_note(const char *state_dir, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void undo_forget(const char *state_dir);
/* Undoes what an earlier shunt left: rules, routes, tables of nft. Prints each thing when verbose. Number of things. */
unsigned undo_all(const char *state_dir, bool verbose);

#endif
