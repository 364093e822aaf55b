/*
 * rules_geo.c - geosite.dat, geoip.dat and MaxMind DBs made here: every dialect, filters, aliases, and files that lie
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>

#include "rules/geo.h"
#include "tests/unit/rules_seen.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct out {
    uint8_t b[8192];
    size_t len;
};

static void put(struct out *o, const void *p, size_t n)
{
    memcpy(o->b + o->len, p, n);
    o->len += n;
}

static void put8(struct out *o, unsigned v)
{
    o->b[o->len++] = (uint8_t)v;
}

/* ---- protocol buffers ---- */

static void put_varint(struct out *o, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        put8(o, (unsigned)(v & 0x7f) | 0x80);
    put8(o, (unsigned)v);
}

static void put_number(struct out *o, unsigned field, uint64_t v)
{
    put_varint(o, field << 3);
    put_varint(o, v);
}

static void put_field(struct out *o, unsigned field, const void *p, size_t n)
{
    put_varint(o, field << 3 | 2);
    put_varint(o, n);
    put(o, p, n);
}

static void put_text(struct out *o, unsigned field, const char *s)
{
    put_field(o, field, s, strlen(s));
}

/* attrs: "ads cn" */
static void put_site(struct out *entry, int kind, const char *value, const char *attrs)
{
    struct out d = { 0 };
    char list[64], *save = NULL;

    if (kind)
        put_number(&d, 1, (uint64_t)kind);
    put_text(&d, 2, value);
    snprintf(list, sizeof(list), "%s", attrs);
    for (char *a = strtok_r(list, " ", &save); a; a = strtok_r(NULL, " ", &save)) {
        struct out at = { 0 };

        put_text(&at, 1, a);
        put_number(&at, 2, 1);
        put_field(&d, 3, at.b, at.len);
    }
    put8(&d, 9 << 3 | 1); /* a field nobody knows, 8 bytes */
    put(&d, "unknown!", 8);
    put_field(entry, 2, d.b, d.len);
}

static void make_sites(struct out *file)
{
    struct out e = { 0 };

    *file = e;
    put_text(&e, 1, "OTHER");
    put_site(&e, 3, "other.com", "");
    put_field(file, 1, e.b, e.len);
    e.len = 0;
    put_text(&e, 1, "GOOGLE");
    put_site(&e, 2, "Google.com", "");
    put_site(&e, 3, "www.google.cn", "cn");
    put_site(&e, 0, "Goog", "ads");
    put_site(&e, 1, "^a{3}$", "ads cn");
    put_site(&e, 2, "no name", "");
    put_site(&e, 3, "mtalk.google.com", "!cn");
    put_site(&e, 7, "later.com", "");
    put_field(file, 1, e.b, e.len);
}

static void check_site(const struct out *f, const char *want, const char *out, uint32_t bad, int expected)
{
    struct set_stats st;
    struct seen seen;
    char *exact = malloc(f->len ? f->len : 1);

    memcpy(exact, f->b, f->len);
    seen_init(&seen);
    assert_int_equal(geosite_read(exact, f->len, want, &seen.v, &st), expected);
    assert_string_equal(seen.text, out);
    assert_int_equal(st.bad, bad);
    free(seen.text);
    free(exact);
}

static void sites_by_category_and_attribute(void **state)
{
    struct out f;

    make_sites(&f);
    check_site(&f, "google", "d:+.google.com d:www.google.cn k:goog r:^a{3}$ d:mtalk.google.com ", 2, 0);
    check_site(&f, "Other", "d:other.com ", 0, 0);
    check_site(&f, "google@cn", "d:www.google.cn r:^a{3}$ ", 0, 0);
    check_site(&f, "google@CN@ads", "r:^a{3}$ ", 0, 0);
    check_site(&f, "google@!cn", "d:mtalk.google.com ", 0, 0);
    check_site(&f, "google@nope", "", 0, 0);
    check_site(&f, "googl", "", 0, -ENOENT);
    check_site(&f, "", "", 0, -ENOENT);
    assert_int_equal(geosite_read(f.b, f.len, "other@x", &(struct set_visitor){ 0 }, NULL), 0);
}

static void sites_that_lie(void **state)
{
    struct out f, cut;

    make_sites(&f);
    cut = f;
    for (cut.len = 0; cut.len < f.len; cut.len++) {
        struct set_stats st;
        struct seen seen;
        int res;

        seen_init(&seen);
        res = geosite_read(cut.b, cut.len, "google", &seen.v, &st);
        assert_true(res == -EBADMSG || res == -ENOENT);
        assert_string_equal(seen.text, "");
        free(seen.text);
    }
    check_site(&(struct out){ { 0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01 }, 11 }, "a", "", 0, -EBADMSG);
    check_site(&(struct out){ { 0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, 12 }, "a", "", 0, -EBADMSG);
    check_site(&(struct out){ { 0x0a, 0x03, 0x0a, 0x01, 'b', 0x0a, 0x00, 0x0a, 0x02, 0x0a, 0x00 }, 11 }, "a", "", 0, -ENOENT); /* no code */
    check_site(&(struct out){ { 0x0a, 0x03, 0x0a, 0x01, 'b', 0x0a, 0x00 }, 7 }, "b", "", 0, 0);
    check_site(&(struct out){ { 0x0b, 0x00 }, 2 }, "a", "", 0, -EBADMSG);
    check_site(&(struct out){ "<html></html>", 13 }, "a", "", 0, -EBADMSG);
}

static void put_net(struct out *entry, const void *ip, size_t n, unsigned len)
{
    struct out c = { 0 };

    put_field(&c, 1, ip, n);
    put_number(&c, 2, len);
    put_field(entry, 2, c.b, c.len);
}

static void networks_by_code(void **state)
{
    struct out f = { 0 }, e = { 0 };
    struct set_stats st;
    struct seen seen;

    put_text(&e, 1, "AA");
    put_net(&e, "\1\2\3\4", 4, 32);
    put_field(&f, 1, e.b, e.len);
    e.len = 0;
    put_text(&e, 1, "CN");
    put_net(&e, "\1\2\3\4", 4, 16);
    put_net(&e, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16, 32);
    put_net(&e, "\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4", 16, 120);
    put_net(&e, "\1\2\3\4", 4, 33);
    put_net(&e, "\1\2\3", 3, 8);
    put_net(&e, "\1\2\3\4", 4, 4000000000u);
    put_field(&f, 1, e.b, e.len);
    seen_init(&seen);
    assert_int_equal(geoip_dat_read(f.b, f.len, "cn", &seen.v, &st), 0);
    assert_string_equal(seen.text, "p:1.2.0.0/16 p:2001:db8::/32 p:1.2.3.0/24 ");
    assert_int_equal(st.entries, 3);
    assert_int_equal(st.bad, 3);
    assert_int_equal(geoip_dat_read(f.b, f.len, "de", &seen.v, &st), -ENOENT);
    seen.answer = -EIO;
    assert_int_equal(geoip_dat_read(f.b, f.len, "cn", &seen.v, &st), -EIO);
    free(seen.text);
}

/* ---- MaxMind DB ---- */

#define DATA 0x800000u /* in a child: a record, by its place in the data section */

struct db {
    struct out data;
    unsigned bits; /* 32 or 128 */
    uint32_t child[1024][2];
    uint32_t n;
};

static void db_init(struct db *d, unsigned bits)
{
    memset(d, 0, sizeof(*d));
    d->bits = bits;
    d->n = 1;
}

static void put_str(struct out *o, const char *s)
{
    put8(o, 2u << 5 | (unsigned)strlen(s));
    put(o, s, strlen(s));
}

static void put_uint(struct out *o, unsigned type, uint32_t v)
{
    if (type >= 8) {
        put8(o, 4);
        put8(o, type - 7);
    } else {
        put8(o, type << 5 | 4);
    }
    for (int i = 24; i >= 0; i -= 8)
        put8(o, v >> i & 0xff);
}

static void put_u16(struct out *o, unsigned v)
{
    put8(o, 5u << 5 | 2);
    put8(o, v >> 8);
    put8(o, v & 0xff);
}

/* The node len bits down from the root, made on the way. */
static uint32_t *db_slot(struct db *d, const uint8_t *addr, unsigned len)
{
    uint32_t *slot = NULL, node = 0;

    for (unsigned i = 0; i < len; i++) {
        slot = &d->child[node][addr[i / 8] >> (7 - i % 8) & 1];
        if (i + 1 < len && !*slot)
            *slot = d->n++;
        node = *slot;
    }
    return slot;
}

static void db_add(struct db *d, const char *addr, unsigned len, uint32_t what)
{
    uint8_t b[16];

    if (inet_pton(AF_INET6, addr, b) != 1)
        assert_int_equal(inet_pton(AF_INET, addr, b), 1);
    *db_slot(d, b, len) = what;
}

static void db_write(const struct db *d, struct out *o)
{
    o->len = 0;
    for (uint32_t n = 0; n < d->n; n++)
        for (int side = 0; side < 2; side++) {
            uint32_t c = d->child[n][side], v = c & DATA ? d->n + 16 + (c & ~DATA) : c ? c : d->n;

            put8(o, v >> 16);
            put8(o, v >> 8 & 0xff);
            put8(o, v & 0xff);
        }
    put(o, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    put(o, d->data.b, d->data.len);
    put(o, "\xab\xcd\xefMaxMind.com", 14);
    put8(o, 7u << 5 | 9);
    put_str(o, "node_count"), put_uint(o, 6, d->n);
    put_str(o, "record_size"), put_u16(o, 24);
    put_str(o, "ip_version"), put_u16(o, d->bits == 32 ? 4 : 6);
    put_str(o, "database_type"), put_str(o, "test");
    put_str(o, "languages"), put8(o, 0), put8(o, 4);
    put_str(o, "binary_format_major_version"), put_u16(o, 2);
    put_str(o, "binary_format_minor_version"), put_u16(o, 0);
    put_str(o, "build_epoch"), put_uint(o, 9, 1);
    put_str(o, "description"), put8(o, 7u << 5);
}

/* One wish on a file: what comes, and the result. */
static void check_db(const struct out *f, enum geo_kind kind, const char *code, const char *out, int expected)
{
    struct seen seen;
    struct geo_want w;

    seen_init(&seen);
    w = (struct geo_want){ code, seen.v, 99 };
    assert_int_equal(geo_mmdb_read(f->b, f->len, kind, &w, 1), expected);
    assert_string_equal(seen.text, out);
    if (!expected)
        assert_int_equal(w.n_prefixes, seen.calls);
    free(seen.text);
}

/* Places in the data section: a country's map, a string, an array, and two ways to write an AS number. */
enum { COUNTRY, STRING, ARRAY, ASN, ASN_TEXT, N_RECORDS };

static void db_records(struct db *d, uint32_t at[N_RECORDS])
{
    struct out *o = &d->data;

    at[COUNTRY] = DATA | (uint32_t)o->len;
    put8(o, 7u << 5 | 1), put_str(o, "country");
    put8(o, 7u << 5 | 2), put_str(o, "geoname_id"), put_uint(o, 6, 7), put_str(o, "iso_code"), put_str(o, "CN");
    at[STRING] = DATA | (uint32_t)o->len;
    put_str(o, "de");
    at[ARRAY] = DATA | (uint32_t)o->len;
    put8(o, 2), put8(o, 4), put_str(o, "cn"), put_str(o, "telegram");
    at[ASN] = DATA | (uint32_t)o->len;
    put8(o, 7u << 5 | 1), put_str(o, "autonomous_system_number"), put_uint(o, 6, 13335);
    at[ASN_TEXT] = DATA | (uint32_t)o->len;
    put8(o, 7u << 5 | 1), put_str(o, "asn"), put_str(o, "AS13335");
}

static void codes_in_three_dialects(void **state)
{
    uint32_t at[N_RECORDS];
    struct out f;
    struct db d;

    db_init(&d, 128);
    db_records(&d, at);
    db_add(&d, "::1.0.0.0", 104, at[COUNTRY]);
    db_add(&d, "::2.0.0.0", 104, at[STRING]);
    db_add(&d, "::3.0.0.0", 120, at[ARRAY]);
    db_add(&d, "2001:db8::", 32, at[COUNTRY]);
    db_add(&d, "2001:db9::1", 128, at[ARRAY]);
    db_write(&d, &f);
    check_db(&f, GEO_CODE, "cn", "p:1.0.0.0/8 p:3.0.0.0/24 p:2001:db8::/32 p:2001:db9::1/128 ", 0);
    check_db(&f, GEO_CODE, "CN", "p:1.0.0.0/8 p:3.0.0.0/24 p:2001:db8::/32 p:2001:db9::1/128 ", 0);
    check_db(&f, GEO_CODE, "de", "p:2.0.0.0/8 ", 0);
    check_db(&f, GEO_CODE, "telegram", "p:3.0.0.0/24 p:2001:db9::1/128 ", 0);
    check_db(&f, GEO_CODE, "c", "", 0);
    check_db(&f, GEO_ASN, "13335", "", 0);
}

static void as_numbers(void **state)
{
    uint32_t at[N_RECORDS];
    struct out f;
    struct db d;

    db_init(&d, 32);
    db_records(&d, at);
    db_add(&d, "1.0.0.0", 24, at[ASN]);
    db_add(&d, "1.1.1.1", 32, at[ASN_TEXT]);
    db_add(&d, "9.0.0.0", 8, at[COUNTRY]);
    db_write(&d, &f);
    check_db(&f, GEO_ASN, "13335", "p:1.0.0.0/24 p:1.1.1.1/32 ", 0);
    check_db(&f, GEO_ASN, "1333", "", 0);
    check_db(&f, GEO_CODE, "cn", "p:9.0.0.0/8 ", 0);
}

static void many_wishes_in_one_walk(void **state)
{
    struct geo_want want[130];
    struct seen seen[130];
    uint32_t at[N_RECORDS];
    struct out f;
    struct db d;

    db_init(&d, 32);
    db_records(&d, at);
    db_add(&d, "1.0.0.0", 24, at[ARRAY]);
    db_add(&d, "2.0.0.0", 24, at[STRING]);
    db_write(&d, &f);
    for (size_t i = 0; i < COUNT(want); i++) {
        seen_init(&seen[i]);
        want[i] = (struct geo_want){ i == 3 || i == 129 ? "cn" : i == 64 ? "de" : "xx", seen[i].v, 5 };
    }
    assert_int_equal(geo_mmdb_read(f.b, f.len, GEO_CODE, want, COUNT(want)), 0);
    for (size_t i = 0; i < COUNT(want); i++) {
        assert_string_equal(seen[i].text, i == 3 || i == 129 ? "p:1.0.0.0/24 " : i == 64 ? "p:2.0.0.0/24 " : "");
        assert_int_equal(want[i].n_prefixes, seen[i].calls);
    }
    seen[64].answer = -EIO;
    assert_int_equal(geo_mmdb_read(f.b, f.len, GEO_CODE, want, COUNT(want)), -EIO);
    for (size_t i = 0; i < COUNT(want); i++)
        free(seen[i].text);
}

static void aliases_of_ipv4_are_left_out(void **state)
{
    uint32_t at[N_RECORDS], v4;
    static const uint8_t zero[16];
    struct out f;
    struct db d;

    db_init(&d, 128);
    db_records(&d, at);
    db_add(&d, "::1.0.0.0", 104, at[STRING]);
    v4 = *db_slot(&d, zero, 96);
    db_add(&d, "2002::", 16, v4);
    db_add(&d, "::ffff:0:0", 96, v4);
    db_write(&d, &f);
    check_db(&f, GEO_CODE, "de", "p:1.0.0.0/8 ", 0);
}

static void dbs_that_lie(void **state)
{
    uint32_t at[N_RECORDS];
    struct out f, cut;
    struct db d;

    check_db(&(struct out){ { 0 }, 0 }, GEO_CODE, "cn", "", -EBADMSG);
    check_db(&(struct out){ "\xab\xcd\xefMaxMind.com", 14 }, GEO_CODE, "cn", "", -EBADMSG);

    db_init(&d, 128); /* both sides lead on to one node, all the way down: 2^128 paths */
    db_records(&d, at);
    for (d.n = 1; d.n < 128; d.n++)
        d.child[d.n - 1][0] = d.child[d.n - 1][1] = d.n;
    db_write(&d, &f);
    check_db(&f, GEO_CODE, "cn", "", -EBADMSG);

    db_init(&d, 32); /* a node that is its own child */
    db_records(&d, at);
    d.n = 2;
    d.child[0][0] = d.child[1][0] = 1;
    db_write(&d, &f);
    check_db(&f, GEO_CODE, "cn", "", -EBADMSG);

    db_init(&d, 32); /* a record behind the data */
    db_records(&d, at);
    db_add(&d, "1.0.0.0", 8, DATA | 4000);
    db_write(&d, &f);
    check_db(&f, GEO_CODE, "cn", "", -EBADMSG);

    db_init(&d, 32);
    db_records(&d, at);
    db_add(&d, "1.0.0.0", 8, at[STRING]);
    db_write(&d, &f);
    cut = f;
    for (cut.len = 0; cut.len < f.len - 62; cut.len++) /* the last facts of the metadata are not needed */
        check_db(&cut, GEO_CODE, "de", "", -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sites_by_category_and_attribute), cmocka_unit_test(sites_that_lie), cmocka_unit_test(networks_by_code),
        cmocka_unit_test(codes_in_three_dialects),         cmocka_unit_test(as_numbers),     cmocka_unit_test(many_wishes_in_one_walk),
        cmocka_unit_test(aliases_of_ipv4_are_left_out),    cmocka_unit_test(dbs_that_lie),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
