/*
 * netlink.c - links, addresses, routes and policy rules by rtnetlink (libmnl)
 *
 * One request, one acknowledgement. Our routes and rules carry a protocol number and our device an alias, so they can be found again by anybody, also
 * after a crash, without trusting a file; what carries no mark of ours is never touched.
 *
 *   to delete what is found:   dump ─► keep copies of what is ours ─► send every copy back with the opposite verb
 *
 * A handle owns one socket and its buffers; nothing is remembered between calls.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "platform/sys.h"

#define ANSWER_MAX 32768 /* the kernel fills at most this much of one answer to a dump */
#define DUMP_TRIES 8     /* a dump that others changed meanwhile is asked for again */

struct nl {
    struct mnl_socket *sock;
    uint32_t seq;
    char buf[1024];
    char answer[ANSWER_MAX];
};

struct nl *nl_open(void)
{
    struct nl *n = calloc(1, sizeof(*n));
    int on = 1;

    if (!n)
        return NULL;
    n->sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    n->seq = (uint32_t)time(NULL);
    if (!n->sock || mnl_socket_bind(n->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
        nl_close(n);
        return NULL;
    }
    mnl_socket_setsockopt(n->sock, NETLINK_GET_STRICT_CHK, &on, sizeof(on)); /* dumps of one table; an old kernel sends all of them */
    return n;
}

void nl_close(struct nl *n)
{
    if (!n)
        return;
    if (n->sock)
        mnl_socket_close(n->sock);
    free(n);
}

static struct nlmsghdr *request(struct nl *n, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(n->buf);

    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | flags;
    return h;
}

static int transact(struct nl *n, struct nlmsghdr *h, mnl_cb_t cb, void *arg)
{
    uint32_t port = mnl_socket_get_portid(n->sock);
    ssize_t len;
    int r = 1;

    h->nlmsg_seq = ++n->seq;
    if (mnl_socket_sendto(n->sock, h, h->nlmsg_len) < 0)
        return -errno;
    while (r > 0) {
        struct nlmsghdr *first = (struct nlmsghdr *)(void *)n->answer;

        len = mnl_socket_recvfrom(n->sock, n->answer, sizeof(n->answer));
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return -errno;
        if (first->nlmsg_seq == n->seq) /* else the rest of an answer that was given up */
            r = mnl_cb_run(n->answer, (size_t)len, n->seq, port, cb, arg);
    }
    return r < 0 ? -errno : 0;
}

static int do_it(struct nl *n, struct nlmsghdr *h)
{
    h->nlmsg_flags |= NLM_F_ACK;
    return transact(n, h, NULL, NULL);
}

/* ---- the device ---- */

/* No link-local address of its own: it would only send router solicitations into the device. */
static void no_link_local(struct nlmsghdr *h)
{
    struct nlattr *spec = mnl_attr_nest_start(h, IFLA_AF_SPEC), *inet6 = mnl_attr_nest_start(h, AF_INET6);

    mnl_attr_put_u8(h, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    mnl_attr_nest_end(h, inet6);
    mnl_attr_nest_end(h, spec);
}

/* With the kernel's 500, ten thousand flows that end at once lost most of their FINs, again at every retransmission: after 8 s 1,244 of them still lived. */
#define QUEUE_PACKETS 10000

int nl_device_up(struct nl *n, int index, uint32_t mtu)
{
    struct nlmsghdr *h = request(n, RTM_NEWLINK, 0);
    struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

    m->ifi_index = index;
    no_link_local(h);
    do_it(n, h); /* fails where there is no IPv6, and then it does not matter */

    h = request(n, RTM_NEWLINK, 0);
    m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->ifi_index = index;
    m->ifi_flags = m->ifi_change = IFF_UP;
    mnl_attr_put_u32(h, IFLA_MTU, mtu);
    mnl_attr_put_u32(h, IFLA_TXQLEN, QUEUE_PACKETS);
    mnl_attr_put_strz(h, IFLA_IFALIAS, OUR_ALIAS);
    return do_it(n, h);
}

static int family_of(const struct addr *a)
{
    return a->ver == 4 ? AF_INET : AF_INET6;
}

int nl_address(struct nl *n, int index, const struct cidr *c)
{
    struct nlmsghdr *h = request(n, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

    m->ifa_family = (uint8_t)family_of(&c->ip);
    m->ifa_prefixlen = c->len;
    m->ifa_flags = IFA_F_NODAD;
    m->ifa_index = (uint32_t)index;
    mnl_attr_put(h, IFA_LOCAL, addr_len(&c->ip), c->ip.b);
    mnl_attr_put(h, IFA_ADDRESS, addr_len(&c->ip), c->ip.b);
    return do_it(n, h);
}

/* ---- routes and rules ---- */

static int route(struct nl *n, uint16_t verb, uint16_t flags, const struct route *r, int index)
{
    static const unsigned char types[] = { [ROUTE_DEVICE] = RTN_UNICAST, [ROUTE_THROW] = RTN_THROW, [ROUTE_UNREACHABLE] = RTN_UNREACHABLE };
    struct nlmsghdr *h = request(n, verb, flags);
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

    m->rtm_family = (uint8_t)family_of(&r->to.ip);
    m->rtm_dst_len = r->to.len;
    m->rtm_table = r->table < 256 ? (uint8_t)r->table : RT_TABLE_UNSPEC;
    m->rtm_protocol = OUR_PROTOCOL;
    m->rtm_scope = r->kind == ROUTE_DEVICE && r->to.ip.ver == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    m->rtm_type = types[r->kind];
    mnl_attr_put_u32(h, RTA_TABLE, r->table);
    if (r->to.len)
        mnl_attr_put(h, RTA_DST, addr_len(&r->to.ip), r->to.ip.b);
    if (r->kind == ROUTE_DEVICE)
        mnl_attr_put_u32(h, RTA_OIF, (uint32_t)index);
    if (r->metric)
        mnl_attr_put_u32(h, RTA_PRIORITY, r->metric);
    return do_it(n, h);
}

int nl_route_add(struct nl *n, const struct route *r, int index)
{
    return route(n, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, r, index);
}

int nl_route_del(struct nl *n, const struct route *r, int index)
{
    return route(n, RTM_DELROUTE, 0, r, index);
}

static int rule(struct nl *n, uint16_t verb, uint16_t flags, const struct ip_rule *r)
{
    struct nlmsghdr *h = request(n, verb, flags);
    struct fib_rule_hdr *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    struct fib_rule_uid_range uids = { r->uid, r->uid };
    struct fib_rule_port_range ports = { r->dport, r->dport };

    m->family = r->ver == 4 ? AF_INET : AF_INET6;
    m->action = (uint8_t)r->action;
    m->flags = r->invert ? FIB_RULE_INVERT : 0;
    mnl_attr_put_u32(h, FRA_PRIORITY, r->prio);
    mnl_attr_put_u8(h, FRA_PROTOCOL, OUR_PROTOCOL);
    if (r->action == RULE_LOOKUP) {
        m->table = r->target < 256 ? (uint8_t)r->target : RT_TABLE_UNSPEC;
        mnl_attr_put_u32(h, FRA_TABLE, r->target);
    }
    if (r->action == RULE_GOTO)
        mnl_attr_put_u32(h, FRA_GOTO, r->target);
    if (*r->iif)
        mnl_attr_put_strz(h, FRA_IIFNAME, r->iif);
    if (r->from_unset) {
        m->src_len = 32;
        mnl_attr_put_u32(h, FRA_SRC, 0);
    } else if (r->from.ip.ver) {
        m->src_len = r->from.len;
        mnl_attr_put(h, FRA_SRC, addr_len(&r->from.ip), r->from.ip.b);
    }
    if (r->by_uid)
        mnl_attr_put(h, FRA_UID_RANGE, sizeof(uids), &uids);
    if (r->dport)
        mnl_attr_put(h, FRA_DPORT_RANGE, sizeof(ports), &ports);
    if (r->suppress_default)
        mnl_attr_put_u32(h, FRA_SUPPRESS_PREFIXLEN, 0);
    return do_it(n, h);
}

int nl_rule_add(struct nl *n, const struct ip_rule *r)
{
    return rule(n, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, r);
}

int nl_rule_del(struct nl *n, const struct ip_rule *r)
{
    return rule(n, RTM_DELRULE, 0, r);
}

/* ---- what is there ---- */

/* What a dump is asked for, and what it found. */
struct look {
    uint16_t type;       /* RTM_GETRULE or RTM_GETROUTE */
    uint32_t from, to;   /* rules: priorities */
    uint32_t table;      /* routes: 0 = any */
    bool collect;        /* copy what is ours */
    bool foreign;        /* something in that place is not ours */
    struct nlmsghdr **ours;
    size_t n_ours;
    int err;
};

static void keep(struct look *k, const struct nlmsghdr *h)
{
    struct nlmsghdr **more, *copy;

    if (!k->collect)
        return;
    copy = malloc(h->nlmsg_len);
    more = realloc(k->ours, (k->n_ours + 1) * sizeof(struct nlmsghdr *));
    if (more)
        k->ours = more;
    if (!copy || !more) {
        free(copy);
        k->err = -ENOMEM;
        return;
    }
    memcpy(copy, h, h->nlmsg_len);
    k->ours[k->n_ours++] = copy;
}

static void forget(struct look *k)
{
    while (k->n_ours)
        free(k->ours[--k->n_ours]);
    free(k->ours);
    k->ours = NULL;
}

static void judge(struct look *k, const struct nlmsghdr *h, bool in_place, bool ours)
{
    if (!in_place)
        return;
    if (ours)
        keep(k, h);
    else
        k->foreign = true;
}

static int on_rule(const struct nlmsghdr *h, void *arg)
{
    struct look *k = arg;
    const struct nlattr *a;
    uint32_t prio = 0;
    uint8_t proto = 0;

    if (h->nlmsg_type != RTM_NEWRULE)
        return MNL_CB_OK;
    mnl_attr_for_each(a, h, sizeof(struct fib_rule_hdr)) {
        if (mnl_attr_get_type(a) == FRA_PRIORITY && mnl_attr_get_payload_len(a) >= 4)
            prio = mnl_attr_get_u32(a);
        if (mnl_attr_get_type(a) == FRA_PROTOCOL && mnl_attr_get_payload_len(a) >= 1)
            proto = mnl_attr_get_u8(a);
    }
    judge(k, h, prio >= k->from && prio <= k->to, proto == OUR_PROTOCOL);
    return MNL_CB_OK;
}

static int on_route(const struct nlmsghdr *h, void *arg)
{
    struct look *k = arg;
    const struct rtmsg *m = mnl_nlmsg_get_payload(h);
    const struct nlattr *a;
    uint32_t table = m->rtm_table;

    if (h->nlmsg_type != RTM_NEWROUTE || m->rtm_flags & RTM_F_CLONED)
        return MNL_CB_OK;
    mnl_attr_for_each(a, h, sizeof(*m)) {
        if (mnl_attr_get_type(a) == RTA_TABLE && mnl_attr_get_payload_len(a) >= 4)
            table = mnl_attr_get_u32(a);
    }
    judge(k, h, !k->table || table == k->table, m->rtm_protocol == OUR_PROTOCOL);
    return MNL_CB_OK;
}

static int dump_once(struct nl *n, int family, struct look *k)
{
    struct nlmsghdr *h = request(n, k->type, NLM_F_DUMP);

    if (k->type == RTM_GETRULE) {
        struct fib_rule_hdr *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

        m->family = (uint8_t)family;
        return transact(n, h, on_rule, k);
    }
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

    m->rtm_family = (uint8_t)family;
    if (k->table)
        mnl_attr_put_u32(h, RTA_TABLE, k->table);
    else
        m->rtm_protocol = OUR_PROTOCOL;
    return transact(n, h, on_route, k);
}

/* A family or a table that the kernel does not have holds nothing; that is no error. */
static void dump(struct nl *n, int family, struct look *k)
{
    for (int i = 0; i < DUMP_TRIES; i++) {
        forget(k);
        k->foreign = false;
        if (dump_once(n, family, k) != -EINTR)
            break;
    }
}

static bool taken(struct nl *n, struct look k)
{
    bool found;

    dump(n, AF_INET, &k);
    found = k.foreign;
    dump(n, AF_INET6, &k);
    return found || k.foreign;
}

bool nl_rules_taken(struct nl *n, uint32_t from, uint32_t to)
{
    return taken(n, (struct look){ .type = RTM_GETRULE, .from = from, .to = to });
}

bool nl_table_taken(struct nl *n, uint32_t table)
{
    return taken(n, (struct look){ .type = RTM_GETROUTE, .table = table });
}

/* ---- taking away ---- */

/* A dumped object is its own description: sent back with the other verb it is deleted. The last first, so that captures go before their exceptions. */
static unsigned remove_found(struct nl *n, int family, struct look k)
{
    unsigned gone = 0;

    k.collect = true;
    dump(n, family, &k);
    for (size_t i = k.n_ours; i-- > 0;) {
        struct nlmsghdr *h = k.ours[i];

        h->nlmsg_type = k.type == RTM_GETRULE ? RTM_DELRULE : RTM_DELROUTE;
        h->nlmsg_flags = NLM_F_REQUEST;
        h->nlmsg_pid = 0;
        gone += do_it(n, h) == 0;
    }
    forget(&k);
    return gone;
}

static unsigned remove_both(struct nl *n, struct look k)
{
    return remove_found(n, AF_INET, k) + remove_found(n, AF_INET6, k);
}

unsigned nl_remove_rules(struct nl *n, uint32_t from, uint32_t to)
{
    return remove_both(n, (struct look){ .type = RTM_GETRULE, .from = from, .to = to });
}

unsigned nl_remove_routes(struct nl *n, uint32_t table)
{
    return remove_both(n, (struct look){ .type = RTM_GETROUTE, .table = table });
}

static int on_link(const struct nlmsghdr *h, void *arg)
{
    bool *ours = arg;
    const struct nlattr *a;

    mnl_attr_for_each(a, h, sizeof(struct ifinfomsg)) {
        if (mnl_attr_get_type(a) == IFLA_IFALIAS && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0)
            *ours = !strcmp(mnl_attr_get_str(a), OUR_ALIAS);
    }
    return MNL_CB_OK;
}

unsigned nl_remove_device(struct nl *n, const char *name)
{
    int index = (int)if_nametoindex(name);
    struct nlmsghdr *h = request(n, RTM_GETLINK, NLM_F_ACK);
    struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    bool ours = false;

    m->ifi_index = index;
    if (!index || transact(n, h, on_link, &ours) < 0 || !ours)
        return 0;
    h = request(n, RTM_DELLINK, 0);
    m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->ifi_index = index;
    return do_it(n, h) == 0;
}
