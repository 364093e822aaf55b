/*
 * netlink.c - links, addresses, routes and policy rules by rtnetlink (libmnl)
 *
 * One request, one acknowledgement. Our routes and rules carry a protocol number of their own, so they can be found again by anybody, also
 * after a crash, without trusting a file.
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

struct nl {
    struct mnl_socket *sock;
    uint32_t seq;
    char buf[8192];
};

struct nl *nl_open(void)
{
    struct nl *n = calloc(1, sizeof(*n));

    if (!n)
        return NULL;
    n->sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    n->seq = (uint32_t)time(NULL);
    if (n->sock && mnl_socket_bind(n->sock, 0, MNL_SOCKET_AUTOPID) == 0)
        return n;
    nl_close(n);
    return NULL;
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
    h->nlmsg_seq = ++n->seq;
    return h;
}

static int transact(struct nl *n, struct nlmsghdr *h, mnl_cb_t cb, void *arg)
{
    char answer[16384];
    uint32_t seq = h->nlmsg_seq, port = mnl_socket_get_portid(n->sock);
    ssize_t len;
    int r = 1;

    if (mnl_socket_sendto(n->sock, h, h->nlmsg_len) < 0)
        return -errno;
    while (r > 0) {
        if ((len = mnl_socket_recvfrom(n->sock, answer, sizeof(answer))) < 0)
            return -errno;
        r = mnl_cb_run(answer, (size_t)len, seq, port, cb, arg);
    }
    return r < 0 ? -errno : 0;
}

static int do_it(struct nl *n, struct nlmsghdr *h)
{
    h->nlmsg_flags |= NLM_F_ACK;
    return transact(n, h, NULL, NULL);
}

int nl_link_up(struct nl *n, int index, uint32_t mtu)
{
    struct nlmsghdr *h = request(n, RTM_NEWLINK, 0);
    struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

    m->ifi_family = AF_UNSPEC;
    m->ifi_index = index;
    m->ifi_flags = m->ifi_change = IFF_UP;
    mnl_attr_put_u32(h, IFLA_MTU, mtu);
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

int nl_route(struct nl *n, uint32_t table, const struct cidr *to, enum route_kind kind, int index, uint32_t metric)
{
    struct nlmsghdr *h = request(n, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

    m->rtm_family = (uint8_t)family_of(&to->ip);
    m->rtm_dst_len = to->len;
    m->rtm_table = table < 256 ? (uint8_t)table : RT_TABLE_UNSPEC;
    m->rtm_protocol = OUR_PROTOCOL;
    m->rtm_scope = kind == ROUTE_DEV && to->ip.ver == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    m->rtm_type = kind == ROUTE_DEV ? RTN_UNICAST : kind == ROUTE_THROW ? RTN_THROW : RTN_UNREACHABLE;
    mnl_attr_put_u32(h, RTA_TABLE, table);
    if (to->len)
        mnl_attr_put(h, RTA_DST, addr_len(&to->ip), to->ip.b);
    if (kind == ROUTE_DEV)
        mnl_attr_put_u32(h, RTA_OIF, (uint32_t)index);
    if (metric)
        mnl_attr_put_u32(h, RTA_PRIORITY, metric);
    return do_it(n, h);
}

int nl_rule(struct nl *n, const struct ip_rule *r)
{
    struct nlmsghdr *h = request(n, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
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
    if (r->iif)
        mnl_attr_put_strz(h, FRA_IIFNAME, r->iif);
    if (r->from_unset) {
        m->src_len = 32;
        mnl_attr_put_u32(h, FRA_SRC, 0);
    } else if (r->from.ip.ver) {
        struct cidr net = r->from; /* the kernel compares masked, the text of `ip rule` should be masked too */

        for (unsigned bit = net.len; bit < addr_len(&net.ip) * 8; bit++)
            net.ip.b[bit / 8] &= (uint8_t)~(0x80u >> (bit % 8));
        m->src_len = net.len;
        mnl_attr_put(h, FRA_SRC, addr_len(&net.ip), net.ip.b);
    }
    if (r->by_uid)
        mnl_attr_put(h, FRA_UID_RANGE, sizeof(uids), &uids);
    if (r->dport)
        mnl_attr_put(h, FRA_DPORT_RANGE, sizeof(ports), &ports);
    if (r->suppress_default)
        mnl_attr_put_u32(h, FRA_SUPPRESS_PREFIXLEN, 0);
    return do_it(n, h);
}

/* ---- what is there ---- */

struct seen {
    uint32_t from, to, table;
    bool foreign;
    struct nlmsghdr *ours[256]; /* copies of what carries our protocol */
    unsigned n_ours;
};

static void keep(struct seen *s, const struct nlmsghdr *h)
{
    struct nlmsghdr *copy = s->n_ours < 256 ? malloc(h->nlmsg_len) : NULL;

    if (!copy)
        return;
    memcpy(copy, h, h->nlmsg_len);
    s->ours[s->n_ours++] = copy;
}

static int on_rule(const struct nlmsghdr *h, void *arg)
{
    struct seen *s = arg;
    const struct nlattr *a;
    uint32_t prio = 0;
    uint8_t proto = 0;

    mnl_attr_for_each(a, h, sizeof(struct fib_rule_hdr)) {
        if (mnl_attr_get_type(a) == FRA_PRIORITY)
            prio = mnl_attr_get_u32(a);
        if (mnl_attr_get_type(a) == FRA_PROTOCOL)
            proto = mnl_attr_get_u8(a);
    }
    if (proto == OUR_PROTOCOL)
        keep(s, h);
    else if (prio >= s->from && prio <= s->to)
        s->foreign = true;
    return MNL_CB_OK;
}

static int on_route(const struct nlmsghdr *h, void *arg)
{
    struct seen *s = arg;
    const struct rtmsg *m = mnl_nlmsg_get_payload(h);
    const struct nlattr *a;
    uint32_t table = m->rtm_table;

    mnl_attr_for_each(a, h, sizeof(*m)) if (mnl_attr_get_type(a) == RTA_TABLE) table = mnl_attr_get_u32(a);
    if (m->rtm_protocol == OUR_PROTOCOL)
        keep(s, h);
    else if (table == s->table)
        s->foreign = true;
    return MNL_CB_OK;
}

static void dump(struct nl *n, uint16_t type, int family, mnl_cb_t cb, struct seen *s)
{
    struct nlmsghdr *h = request(n, type, NLM_F_DUMP);

    if (type == RTM_GETRULE) {
        struct fib_rule_hdr *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

        m->family = (uint8_t)family;
    } else {
        struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

        m->rtm_family = (uint8_t)family;
    }
    transact(n, h, cb, s); /* a family that the kernel lacks has nothing */
}

static void forget(struct seen *s)
{
    while (s->n_ours)
        free(s->ours[--s->n_ours]);
}

bool nl_rules_taken(struct nl *n, uint32_t from, uint32_t to)
{
    struct seen s = { .from = from, .to = to };

    dump(n, RTM_GETRULE, AF_INET, on_rule, &s);
    dump(n, RTM_GETRULE, AF_INET6, on_rule, &s);
    forget(&s);
    return s.foreign;
}

bool nl_table_taken(struct nl *n, uint32_t table)
{
    struct seen s = { .table = table };

    dump(n, RTM_GETROUTE, AF_INET, on_route, &s);
    dump(n, RTM_GETROUTE, AF_INET6, on_route, &s);
    forget(&s);
    return s.foreign;
}

/* A dumped object is its own description: sent back with the other verb it is deleted. */
static unsigned remove_seen(struct nl *n, struct seen *s, uint16_t verb)
{
    unsigned gone = 0;

    for (unsigned i = 0; i < s->n_ours; i++) {
        struct nlmsghdr *h = s->ours[i];

        h->nlmsg_type = verb;
        h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
        h->nlmsg_seq = ++n->seq;
        h->nlmsg_pid = 0;
        gone += transact(n, h, NULL, NULL) == 0;
    }
    forget(s);
    return gone;
}

unsigned nl_remove_ours(struct nl *n)
{
    static const int families[] = { AF_INET, AF_INET6 };
    unsigned gone = 0, now;

    for (int i = 0; i < 2; i++) {
        do { /* in portions of what one look keeps */
            struct seen s = { 0 };

            dump(n, RTM_GETRULE, families[i], on_rule, &s);
            gone += now = remove_seen(n, &s, RTM_DELRULE);
        } while (now);
        do {
            struct seen s = { 0 };

            dump(n, RTM_GETROUTE, families[i], on_route, &s);
            gone += now = remove_seen(n, &s, RTM_DELROUTE);
        } while (now);
    }
    return gone;
}
