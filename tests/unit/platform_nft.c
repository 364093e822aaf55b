/*
 * platform_nft.c - the text of the nft tables: what it says for every kind of wish, and that the kernel takes it
 */
#include <nftables/libnftables.h>

#include "platform/sys.h"
#include "platform_netns.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct cidr C(const char *s) {
    struct cidr c;
    char host[64];

    assert_int_equal(cidr_parse(s, &c), 0);
    snprintf(host, sizeof(host), "%.*s", (int)strcspn(s, "/"), s);
    assert_int_equal(addr_parse(host, &c.ip), 0); /* a worker may leave the host bits */
    return c;
}

static struct cidr four[4],
    six[3], both[7];

static int fill(void **state)
{
    static const char *const a4[] = { "10.0.0.0/8", "10.9.8.7/16", "192.168.1.77/24", "203.0.113.9/32" }, *const a6[] = {
        "fd00::/8", "fd00:1::7/32", "2001:db8::9/128"
    };

    for (size_t i = 0; i < COUNT(a4); i++)
        both[i] = four[i] = C(a4[i]);
    for (size_t i = 0; i < COUNT(a6); i++)
        both[COUNT(a4) + i] = six[i] = C(a6[i]);
    return netns_enter(state);
}

/* Which list: 0 none, 1 IPv4, 2 IPv6, 3 both. */
static void list(int which, const struct cidr **v, uint32_t *n)
{
    *v = which == 1 ? four : which == 2 ? six : both;
    *n = which == 0 ? 0 : which == 1 ? COUNT(four) : which == 2 ? COUNT(six) : COUNT(both);
}

#define WISHES (2 * 2 * 2 * 2 * 2 * 4 * 4 * 2)

static struct nft_want wish(int i)
{
    struct nft_want w = { .worker = 65017, .device = "shunt0" };

    w.dns_port = i & 1 ? 5353 : 0;
    w.dns_v6 = i & 2;
    w.refuse_v6 = i & 4;
    w.strict = i & 8;
    if (i & 16) {
        w.fake4 = C("198.18.0.1/16");
        w.fake6 = C("fdfe:198:18::1/64");
    }
    list(i >> 5 & 3, &w.include, &w.n_include);
    list(i >> 7 & 3, &w.exclude, &w.n_exclude);
    w.refuse_own = i & 512;
    return w;
}

/* As `nft -c -f`. NULL, or what it says. */
static const char *refused(const char *text)
{
    static char said[500];
    struct nft_ctx *c = nft_ctx_new(NFT_CTX_DEFAULT);
    bool good;

    nft_ctx_set_dry_run(c, true);
    nft_ctx_buffer_error(c);
    nft_ctx_buffer_output(c);
    good = nft_run_cmd_from_buffer(c, text) == 0;
    snprintf(said, sizeof(said), "%s", nft_ctx_get_error_buffer(c));
    nft_ctx_free(c);
    return good ? NULL : said;
}

static void the_kernel_takes_every_wish(void **state)
{
    netns_needed();
    for (int i = 0; i < WISHES; i += 5) { /* each kind with every other, if not all with all */
        struct nft_want w = wish(i);
        char *text = nft_text(&w, TABLE_NAME, GUARD_NAME);
        const char *why;

        assert_non_null(text);
        if ((why = refused(text)))
            fail_msg("wish %d: %s\n%s", i, why, text);
        free(text);
    }
}

/* Every name that the check of messages lets through. */
static void the_kernel_takes_every_device_name(void **state)
{
    netns_needed();
    for (int c = '!'; c <= '~'; c++) {
        struct msg m = ipc_msg(MSG_TUN);
        struct nft_want w = wish(8 | 4 | 1);
        const char *why;
        char *text;

        memset(m.tun.device, c, 3);
        m.tun.device[1] = 'a';
        m.tun.mtu = 1500;
        m.tun.table = 2022;
        m.tun.rule_prio = 9000;
        m.tun.addr4 = C("198.18.0.1/30");
        if (ipc_check(&m))
            continue;
        w.device = m.tun.device;
        text = nft_text(&w, TABLE_NAME, GUARD_NAME);
        if ((why = refused(text)))
            fail_msg("device %s: %s", w.device, why);
        free(text);
    }
}

static void as_many_networks_as_there_may_be(void **state)
{
    static struct cidr many[2 * PLAT_MAX_ROUTES];
    struct nft_want w = wish(8 | 1);
    const char *why;
    char *text;

    netns_needed();
    for (uint32_t i = 0; i < COUNT(many); i++) {
        many[i] = i % 2 ? (struct cidr){ { 4, { 20, (uint8_t)(i >> 8), (uint8_t)i, 1 } }, 32 }
                        : (struct cidr){ { 6, { 0x20, 1, (uint8_t)(i >> 8), (uint8_t)i } }, 64 };
    }
    w.include = many;
    w.exclude = many + PLAT_MAX_ROUTES;
    w.n_include = w.n_exclude = PLAT_MAX_ROUTES;
    text = nft_text(&w, TABLE_NAME, GUARD_NAME);
    if ((why = refused(text)))
        fail_msg("%s", why);
    free(text);
}

/* ---- what it says ---- */

static bool says(const char *text, const char *words)
{
    return strstr(text, words) != NULL;
}

static void the_worker_is_not_redirected(void **state)
{
    struct nft_want w = wish(1 | 2);
    char *text = nft_text(&w, TABLE_NAME, GUARD_NAME);

    assert_true(says(text, "dns meta skuid != 65017 udp dport 53 redirect to :5353"));
    assert_true(says(text, "dns meta skuid != 65017 tcp dport 53 redirect to :5353"));
    free(text);
    w.dns_v6 = false; /* nobody listens on ::1 */
    text = nft_text(&w, TABLE_NAME, GUARD_NAME);
    assert_true(says(text, "meta nfproto ipv4 meta skuid != 65017 udp dport 53"));
    free(text);
    w.dns_port = 0;
    text = nft_text(&w, TABLE_NAME, GUARD_NAME);
    assert_false(says(text, "redirect"));
    free(text);
}

/* Both tables are replaced by every text, also by one that wants neither: so nothing of an earlier wish stays. */
static void every_text_begins_anew(void **state)
{
    for (int i = 0; i < WISHES; i++) {
        struct nft_want w = wish(i);
        char *text = nft_text(&w, "one", "two");

        assert_true(says(text, "add table inet one { flags owner; }\ndelete table inet one\n"));
        assert_true(says(text, "add table inet two\ndelete table inet two\n"));
        assert_int_equal(says(text, "policy drop"), w.strict);
        assert_int_equal(says(text, "oifname \"shunt0\" meta nfproto ipv6 reject"), w.refuse_v6);
        assert_int_equal(says(text, "add rule inet one own oifname \"shunt0\" meta skuid 65017 reject"), w.refuse_own);
        assert_false(says(text, "two { flags owner")); /* the guard outlives us */
        free(text);
    }
}

static void the_guard_judges_as_the_routes_do(void **state)
{
    struct nft_want w = wish(8 | 16 | 3 << 5 | 3 << 7);
    char *text = nft_text(&w, TABLE_NAME, GUARD_NAME), *judge;

    judge = strstr(text, "daddr 198.18.0.1/16 counter drop"); /* fake before excluded before included */
    assert_non_null(judge);
    judge = strstr(judge, "ip daddr @excluded4");
    assert_non_null(judge);
    judge = strstr(judge, "ip daddr != @included4");
    assert_non_null(judge);
    judge = strstr(judge, "ip6 daddr fdfe:198:18::1/64 counter drop");
    assert_non_null(judge);
    judge = strstr(judge, "ip6 daddr @excluded6");
    assert_non_null(judge);
    judge = strstr(judge, "ip6 daddr != @included6");
    assert_non_null(judge);
    assert_non_null(strstr(judge, "judge counter drop"));
    free(text);
    w = wish(8 | 1 << 5); /* only IPv4 is included: IPv6 may go its own way */
    text = nft_text(&w, TABLE_NAME, GUARD_NAME);
    assert_true(says(text, "judge meta nfproto ipv6 ct mark set"));
    free(text);
    w = wish(8); /* nothing is said: everything is captured, so nothing may leave */
    text = nft_text(&w, TABLE_NAME, GUARD_NAME);
    assert_false(says(text, "@included") || says(text, "@excluded") || says(text, "nfproto ipv6 ct mark"));
    free(text);
}

/* ---- in force ---- */

static bool has(const char *table, const char *words)
{
    static char text[70000];
    char line[200];

    snprintf(line, sizeof(line), "nft list table inet %s 2>/dev/null", table);
    return strstr(sh_says(line, text, sizeof(text)), words) != NULL;
}

static void one_wish_replaces_another(void **state)
{
    struct nft_want w = wish(1 | 2 | 8);
    char why[WHY_MAX] = "";
    struct nft *n;

    netns_needed();
    assert_non_null(n = nft_open());
    assert_int_equal(nft_probe(n, &w, why), 0);
    assert_false(nft_has(TABLE_NAME) || nft_has(GUARD_NAME) || nft_has("shunt_probe") || nft_has("shunt_probe_guard"));
    assert_int_equal(nft_apply(n, &w, why), 0);
    assert_true(nft_has(TABLE_NAME) && nft_has(GUARD_NAME));
    assert_true(has(TABLE_NAME, "redirect to :5353") && has(GUARD_NAME, "policy drop"));
    w.dns_port = 6353;
    w.exclude = four;
    w.n_exclude = COUNT(four);
    assert_int_equal(nft_apply(n, &w, why), 0);
    assert_true(has(TABLE_NAME, "redirect to :6353") && !has(TABLE_NAME, "5353") && has(GUARD_NAME, "10.0.0.0/8") &&
                has(GUARD_NAME, "192.168.1.0/24"));
    w.strict = false;
    assert_int_equal(nft_apply(n, &w, why), 0);
    assert_true(nft_has(TABLE_NAME) && !nft_has(GUARD_NAME));
    w.strict = true;
    assert_int_equal(nft_apply(n, &w, why), 0);
    assert_int_equal(nft_remove(TABLE_NAME), 0); /* it belongs to a living handle */
    nft_close(n);
    assert_true(!nft_has(TABLE_NAME) && nft_has(GUARD_NAME)); /* as when we are killed */
    assert_int_equal(nft_remove(GUARD_NAME), 1);
    assert_int_equal(nft_remove(GUARD_NAME), 0);
    nft_close(NULL);
}

static void a_wish_that_is_refused_changes_nothing(void **state)
{
    struct nft_want w = wish(1 | 2 | 8);
    char why[WHY_MAX] = "";
    struct nft *n;

    netns_needed();
    assert_non_null(n = nft_open());
    assert_int_equal(nft_apply(n, &w, why), 0);
    w.device = "no \"such\" name";
    w.dns_port = 7353;
    assert_true(nft_apply(n, &w, why) < 0);
    assert_true(strstr(why, "nft: ") == why && !strchr(why, '\n'));
    assert_true(has(TABLE_NAME, "redirect to :5353") && has(GUARD_NAME, "shunt0"));
    nft_close(n);
    nft_remove(GUARD_NAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_takes_every_wish),      cmocka_unit_test(the_kernel_takes_every_device_name),
        cmocka_unit_test(as_many_networks_as_there_may_be), cmocka_unit_test(the_worker_is_not_redirected),
        cmocka_unit_test(every_text_begins_anew),           cmocka_unit_test(the_guard_judges_as_the_routes_do),
        cmocka_unit_test(one_wish_replaces_another),        cmocka_unit_test(a_wish_that_is_refused_changes_nothing),
    };

    return cmocka_run_group_tests(tests, fill, NULL);
}
