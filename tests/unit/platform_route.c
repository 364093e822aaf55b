/*
 * platform_route.c - device, routes and rules as the kernel sees them: in a namespace of our own it is asked for the way of many addresses
 *
 *   uplink: a veth, 192.0.2.2/24, default route by 192.0.2.1; 2001:db8:77::2/64 likewise
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>

#include "platform/sys.h"
#include "platform_netns.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define WORKER   65017

static struct nl *nl;
static struct tundev dev = { .fd = -1 };

static uint32_t dice(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static struct cidr C(const char *s)
{
    struct cidr c;
    char host[64];

    assert_int_equal(cidr_parse(s, &c), 0);
    snprintf(host, sizeof(host), "%.*s", (int)strcspn(s, "/"), s);
    assert_int_equal(addr_parse(host, &c.ip), 0);
    return c;
}

static int set_up(void **state)
{
    struct cidr a4 = { { 4, { 198, 18, 0, 1 } }, 30 }, a6 = { { 6, { 0xfd, 0xfe, [15] = 1 } }, 126 };
    char why[WHY_MAX];

    netns_enter(state);
    if (!netns_is_ours || access("/dev/net/tun", R_OK | W_OK) < 0) {
        netns_is_ours = false;
        return 0;
    }
    sh("ip link set lo up; ip link add name uplink type veth peer name far;"
       "ip link set far addrgenmode none; ip link set uplink addrgenmode none;" /* a link-local address would change the tables a second later */
       "ip link set far up; ip link set uplink up;"
       "ip addr add 192.0.2.2/24 dev uplink; ip addr add 2001:db8:77::2/64 dev uplink nodad;"
       "ip route add default via 192.0.2.1; ip -6 route add default via 2001:db8:77::1");
    nl = nl_open();
    return !nl || tundev_open(&dev, "shunt0", why) < 0 || nl_device_up(nl, dev.index, 1400) < 0 || nl_address(nl, dev.index, &a4) < 0 ||
           nl_address(nl, dev.index, &a6) < 0;
}

static int tear_down(void **state)
{
    nl_close(nl);
    if (dev.fd >= 0)
        close(dev.fd);
    return 0;
}

static struct plan_in usual(void)
{
    return (struct plan_in){ .prio = 9000,
                             .table = 2022,
                             .device = "shunt0",
                             .v6 = true,
                             .kernel_v6 = true,
                             .worker = WORKER,
                             .addr4 = C("198.18.0.1/30"),
                             .addr6 = C("fdfe::1/126"),
                             .fake4 = C("198.18.0.0/16"),
                             .fake6 = C("fdfe:198:18::/64") };
}

static void switch_to(struct plan *from, struct plan_in *in)
{
    char why[WHY_MAX] = "";
    struct plan to = { 0 };

    if (in)
        assert_int_equal(plan_make(in, &to), 0);
    if (route_switch(nl, dev.index, from, &to, why) < 0)
        fail_msg("%s", why);
    plan_fini(from);
    *from = to;
}

static char *whole_state(char *out, size_t size)
{
    return sh_says("ip rule; ip -6 rule; ip route show table all | sort; ip -6 route show table all | grep -v multicast | sort", out, size);
}

/* ---- the device ---- */

static void the_device_is_as_asked(void **state)
{
    char text[2000];

    netns_needed();
    sh_says("ip -d link show shunt0; cat /proc/sys/net/ipv6/conf/shunt0/addr_gen_mode; ip addr show shunt0", text, sizeof(text));
    assert_non_null(strstr(text, "mtu 1400"));
    assert_non_null(strstr(text, "qlen 10000"));
    assert_non_null(strstr(text, "alias shunt"));
    assert_non_null(strstr(text, "198.18.0.1/30"));
    assert_non_null(strstr(text, "fdfe::1/126"));
    assert_null(strstr(text, "fe80")); /* nothing that would ask for routers */
}

static void a_name_that_is_free(void **state)
{
    char name[16], why[WHY_MAX] = "";
    struct tundev second;

    netns_needed();
    assert_int_equal(tundev_name("", name, why), 0);
    assert_string_equal(name, "shunt1");
    assert_int_equal(tundev_name("mine", name, why), 0);
    assert_string_equal(name, "mine");
    assert_int_equal(tundev_name("shunt0", name, why), -EBUSY);
    assert_non_null(strstr(why, "shunt0 is taken"));
    assert_true(tundev_open(&second, "shunt0", why) < 0); /* nor by force */
    assert_int_equal(second.fd, -1);
    assert_int_equal(tundev_open(&second, "second", why), 0);
    assert_int_equal(second.index, if_nametoindex("second"));
    assert_true(fcntl(second.fd, F_GETFD) & FD_CLOEXEC && fcntl(second.fd, F_GETFL) & O_NONBLOCK);
    close(second.fd);
    assert_int_equal(if_nametoindex("second"), 0);
}

static void offloads_up_to_a_level(void **state)
{
    static const char *const levels[] = { "none", "csum", "tso", "full", "nonsense" };
    char why[WHY_MAX];

    netns_needed();
    for (size_t i = 0; i < COUNT(levels); i++) {
        struct tundev t;

        setenv("SHUNT_TUN_OFFLOAD", levels[i], 1);
        assert_int_equal(tundev_open(&t, "level", why), 0);
        assert_int_equal(t.vnet_hdr, i >= 1);
        assert_int_equal(t.csum, i >= 1);
        assert_int_equal(t.tso, i >= 2);
        assert_true(!t.uso || i >= 3); /* as far as the kernel goes */
        close(t.fd);
    }
    unsetenv("SHUNT_TUN_OFFLOAD");
}

/* ---- ways ---- */

enum way { OURS, UPLINK, NOWHERE };

/* The kernel's answers for n addresses, one question after the other in one shell. */
static void ask(const struct addr *a, int n, uid_t uid, enum way *out)
{
    static char line[20000], said[60000];
    char text[ADDR_STRLEN], *at = said;
    size_t len = 0;

    for (int i = 0; i < n; i++)
        len += (size_t)snprintf(line + len, sizeof(line) - len, "ip route get %s uid %u 2>&1 | head -n 1;", addr_str(&a[i], text), uid);
    assert_true(len < sizeof(line) - 100);
    sh_says(line, said, sizeof(said));
    for (int i = 0; i < n; i++) {
        char *end = strchr(at, '\n');

        assert_non_null(end);
        *end = 0;
        out[i] = strstr(at, "dev shunt0") ? OURS : strstr(at, "dev uplink") ? UPLINK : NOWHERE;
        at = end + 1;
    }
}

static bool in_any(const struct cidr *v, uint32_t n, const struct addr *a)
{
    for (uint32_t i = 0; i < n; i++)
        if (cidr_contains(&v[i], a))
            return true;
    return false;
}

static enum way naive(const struct plan_in *in, const struct addr *a)
{
    struct cidr lan4 = C("192.0.2.0/24"), lan6 = C("2001:db8:77::/64");
    bool fake = cidr_contains(&in->fake4, a) || cidr_contains(&in->fake6, a);
    bool captured = fake || (!in_any(in->exclude, in->n_exclude, a) && (!in->n_include || in_any(in->include, in->n_include, a)));

    if (!in->strict && (cidr_contains(&lan4, a) || cidr_contains(&lan6, a)))
        return UPLINK;
    if (!captured)
        return UPLINK;
    return a->ver == 6 && !in->v6 && in->strict ? NOWHERE : OURS;
}

static struct cidr random_net(uint32_t *rnd)
{
    struct cidr c = { .ip.ver = dice(rnd) % 2 ? 4 : 6 };

    c.ip.b[0] = c.ip.ver == 4 ? (uint8_t)(1 + dice(rnd) % 200) : 0x20;
    for (int i = 1; i < 4; i++)
        c.ip.b[i] = (uint8_t)dice(rnd);
    c.ip.b[0] = c.ip.b[0] == 127 ? 126 : c.ip.b[0];
    c.len = (uint8_t)(4 + dice(rnd) % 28);
    return c;
}

static void the_kernel_agrees_with_a_naive_look(void **state)
{
    static struct cidr include[6], exclude[12];
    static char before[20000], after[20000];
    struct plan now = { 0 };
    uint32_t rnd = 21;

    netns_needed();
    whole_state(before, sizeof(before));
    for (int round = 0; round < 6; round++) { /* each switches from the one before */
        struct plan_in in = usual();
        struct addr a[40];
        enum way way[COUNT(a)];
        int n = 0;

        in.strict = round % 2;
        in.v6 = round != 3;
        in.include = include;
        in.exclude = exclude;
        in.n_include = round % 3 == 2 ? COUNT(include) : 0;
        in.n_exclude = COUNT(exclude) - (uint32_t)round;
        for (uint32_t i = 0; i < COUNT(include); i++)
            include[i] = random_net(&rnd);
        for (uint32_t i = 0; i < COUNT(exclude); i++)
            exclude[i] = random_net(&rnd);
        switch_to(&now, &in);
        a[n++] = C("192.0.2.77/32").ip;
        a[n++] = C("2001:db8:77::77/128").ip;
        a[n++] = C("198.18.44.1/32").ip;
        a[n++] = C("fdfe:198:18::9/128").ip;
        while (n < (int)COUNT(a)) {
            a[n] = dice(&rnd) % 2 ? random_net(&rnd).ip : exclude[dice(&rnd) % in.n_exclude].ip;
            a[n].b[addr_len(&a[n]) - 1] |= 1;
            n++;
        }
        ask(a, n, 0, way);
        for (int i = 0; i < n; i++)
            if (way[i] != naive(&in, &a[i])) {
                char text[ADDR_STRLEN];

                fail_msg("round %d: %s goes %d, not %d", round, addr_str(&a[i], text), way[i], naive(&in, &a[i]));
            }
        ask(a, n, WORKER, way); /* as if we were not there */
        for (int i = 0; i < n; i++)
            assert_int_equal(way[i], UPLINK);
    }
    switch_to(&now, NULL);
    assert_string_equal(whole_state(after, sizeof(after)), before);
}

static void a_switch_that_fails_leaves_the_old_plan(void **state)
{
    static char before[20000], after[20000];
    struct plan now = { 0 }, other;
    struct plan_in in = usual();
    struct cidr exclude[] = { C("10.0.0.0/8") };
    char why[WHY_MAX] = "";

    netns_needed();
    switch_to(&now, &in);
    whole_state(before, sizeof(before));
    in.exclude = exclude;
    in.n_exclude = 1;
    in.prio = 9100;
    assert_int_equal(plan_make(&in, &other), 0);
    other.rules[other.n_rules - 1].action = RULE_GOTO; /* backwards: the last rule is refused, when all else stands */
    other.rules[other.n_rules - 1].target = 1;
    assert_true(route_switch(nl, dev.index, &now, &other, why) < 0);
    assert_non_null(strstr(why, "cannot be set"));
    assert_string_equal(whole_state(after, sizeof(after)), before);
    assert_true(route_switch(nl, 99999, &(struct plan){ 0 }, &other, why) < 0); /* no such device */
    assert_string_equal(whole_state(after, sizeof(after)), before);
    plan_fini(&other);
    switch_to(&now, NULL);
}

static void what_others_have_is_seen_and_ours_is_not(void **state)
{
    struct plan now = { 0 };
    struct plan_in in = usual();

    netns_needed();
    switch_to(&now, &in);
    assert_false(nl_rules_taken(nl, 9000, 9010)); /* our own */
    assert_false(nl_table_taken(nl, 2022));
    sh("ip rule add pref 9005 fwmark 7 lookup 100; ip -6 rule add pref 9200 fwmark 7 lookup 100; ip -6 route add 2001:db8:9::/64 dev "
       "uplink table 300");
    assert_true(nl_rules_taken(nl, 9000, 9010));
    assert_true(nl_rules_taken(nl, 9005, 9005));
    assert_false(nl_rules_taken(nl, 9006, 9010));
    assert_true(nl_rules_taken(nl, 9190, 9200)); /* IPv6 counts, too */
    assert_true(nl_table_taken(nl, 300));
    assert_true(nl_table_taken(nl, 254));
    assert_false(nl_table_taken(nl, 301));
    assert_int_equal(nl_remove_rules(nl, 9005, 9005), 2); /* ours at this place, of both families; not the other's */
    assert_int_equal(sh("ip rule | grep -q '^9005:.*fwmark'"), 0);
    assert_int_equal(nl_remove_rules(nl, 9000, 9010), (unsigned)now.n_rules - 2);
    assert_int_equal(nl_remove_routes(nl, 2022), now.n_routes);
    assert_int_equal(nl_remove_routes(nl, 300), 0);
    assert_int_equal(nl_remove_device(nl, "uplink"), 0); /* no alias of ours */
    assert_int_equal(nl_remove_device(nl, "nothing"), 0);
    sh("ip rule del pref 9005; ip -6 rule del pref 9200; ip -6 route flush table 300");
    plan_fini(&now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_device_is_as_asked),
        cmocka_unit_test(a_name_that_is_free),
        cmocka_unit_test(offloads_up_to_a_level),
        cmocka_unit_test(the_kernel_agrees_with_a_naive_look),
        cmocka_unit_test(a_switch_that_fails_leaves_the_old_plan),
        cmocka_unit_test(what_others_have_is_seen_and_ours_is_not),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
