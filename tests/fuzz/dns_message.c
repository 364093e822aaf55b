/*
 * dns_message.c - a message as a query of a stranger and as the answer of a server; what we build from it must be sound by our own measure
 *
 * Byte 0: what it is taken for. The rest: the message.
 */
#include <stdlib.h>
#include <string.h>

#include "dns/dns.h"
#include "dns/msg.h"
#include "tests/fuzz/fuzz.h"

#define MUST(what)                                                                                                                         \
    do {                                                                                                                                   \
        if (!(what))                                                                                                                       \
            abort();                                                                                                                       \
    } while (0)

/* Every answer of ours must be one to the question, to its last byte. */
static void check_answer(const uint8_t *m, size_t len, const struct qkey *k)
{
    struct answer a;

    MUST(msg_parse_answer(m, len, k, &a));
    MUST(a.end == len);
}

static void as_query(const uint8_t *m, size_t len)
{
    static const struct addr addrs[] = { { 4, { 198, 18, 0, 4 } }, { 6, { 0xfd, [15] = 4 } }, { 4, { 10, 0, 0, 1 } } };
    uint8_t out[DNS_REPLY_MAX], query[DNS_QUERY_MAX];
    char text[DNS_NAME_TEXT];
    struct question q, again;
    struct qkey k, made;
    struct cidr net;
    struct addr rev;
    size_t n;

    switch (msg_parse_query(m, len, &q)) {
    case MSG_JUNK: return;
    case MSG_FORMERR:
    case MSG_NOTIMP: MUST(msg_error(m, RC_FORMERR, out) == DNS_HEADER); return;
    case MSG_BADVERS: break;
    case MSG_GOOD: break;
    }
    MUST(q.end <= len && strlen(q.name) == q.name_len && (!q.odd || !q.name_len));
    qkey_of(m, &q, &k);
    qkey_text(&k, text);
    MUST(q.odd || strlen(text) >= q.name_len);
    if (!q.odd && qkey_make(q.name, q.type, &made))
        MUST(made.len == k.len && !memcmp(made.name, k.name, k.len));
    msg_reverse_addr(q.name, &rev);

    n = msg_answer(m, &q, &(struct reply){ .rcode = len % 2 ? RC_OK : RC_SERVFAIL, .addr = addrs, .n = 3, .ttl = 1 }, out, sizeof(out));
    check_answer(out, n, &k);
    check_answer(
        out, msg_answer(m, &q, &(struct reply){ .alias = "alias.example", .alias_ttl = 10, .addr = addrs, .n = 3 }, out, sizeof(out)), &k);
    check_answer(out, msg_answer(m, &q, &(struct reply){ .rcode = RC_BADVERS }, out, sizeof(out)), &k);
    check_answer(out, msg_answer_ptr(m, &q, *q.name ? q.name : "a", 1, out, sizeof(out)), &k);

    cidr_parse("2001:db8::/56", &net);
    n = msg_query(&k, 7, len % 3 ? &net : NULL, len % 5 ? 128 : 0, query);
    MUST(n <= sizeof(query) && msg_parse_query(query, n, &again) == MSG_GOOD);
    MUST(!strcmp(again.name, q.name) && again.odd == q.odd && again.type == q.type && again.class_ == q.class_);
}

static void on_record(void *arg, const struct dns_record *r)
{
    MUST(r->section >= 0 && r->section <= 3 && *r->name && strlen(r->name) < DNS_NAME_TEXT);
    for (const char *p = r->data; *p; p++)
        MUST(*p >= ' ' && *p < 127);
}

/* The records of a message in words, without one type and without signatures. */
struct words {
    uint16_t but;
    size_t len;
    char text[1 << 18];
};

static void on_word(void *arg, const struct dns_record *r)
{
    struct words *w = arg;
    int n;

    if (r->section && (r->type == w->but || r->type == T_RRSIG))
        return;
    n = snprintf(w->text + w->len, sizeof(w->text) - w->len, "%d %s %u %u %s\n", r->section, r->name, r->type, r->ttl,
                 r->data[0] == '\\' ? "" : r->data); /* told as bytes: there may be pointers among them */
    w->len = w->len + (size_t)n < sizeof(w->text) ? w->len + (size_t)n : sizeof(w->text) - 1;
}

/* Without the records of a type it is the same answer, less them. */
static void take_away(const uint8_t *m, size_t len, const struct qkey *k, uint16_t type)
{
    static struct words before, after;
    static uint8_t out[DNS_MAX];
    size_t n = msg_without(m, len, &type, 1, out);

    if (!n)
        return;
    check_answer(out, n, k);
    before.but = after.but = type;
    before.len = after.len = 0;
    dns_records(m, len, on_word, &before);
    dns_records(out, n, on_word, &after);
    MUST(before.len <= after.len && !memcmp(before.text, after.text, before.len)); /* words end at a name that leads nowhere */
    before.len = after.len;
    after.but = T_OPT; /* which is never told */
    after.len = 0;
    dns_records(out, n, on_word, &after);
    MUST(after.len == before.len); /* there is none left */
}

static void as_answer(const uint8_t *m, size_t len)
{
    static uint8_t copy[DNS_MAX + DNS_OPT];
    uint8_t query[DNS_QUERY_MAX];
    uint16_t ttls[512];
    struct question q;
    struct answer a, b;
    struct qkey k;
    size_t n;
    int n_ttls;

    /* the question that it claims to answer, so that the walk goes on */
    if (len < DNS_HEADER || len > DNS_MAX)
        return;
    memcpy(copy, m, len);
    copy[2] &= 0x07;
    memset(copy + 6, 0, 6);
    if (msg_parse_query(copy, len, &q) != MSG_GOOD)
        return;
    qkey_of(copy, &q, &k);
    memcpy(copy, m, len);
    if (!msg_parse_answer(copy, len, &k, &a))
        return;
    MUST(a.n_addr >= 0 && a.n_addr <= DNS_ADDRS && a.end <= len && a.ttl <= 86400);
    n = msg_strip(copy, &a);
    MUST(msg_parse_answer(copy, n, &k, &b) && b.end == n);
    take_away(copy, n, &k, len % 2 ? T_CNAME : len % 3 ? T_A : T_TXT);
    n_ttls = msg_ttls(copy, n, ttls, 512);
    for (int i = 0; i < n_ttls; i++) {
        MUST((size_t)ttls[i] + 4 <= n);
        put32(copy + ttls[i], 1);
    }
    MUST(msg_parse_answer(copy, n, &k, &b));
    if (n + DNS_OPT > DNS_MAX)
        return;
    MUST(msg_parse_query(query, msg_query(&k, 9, NULL, 0, query), &q) == MSG_GOOD);
    check_answer(copy, msg_for_client(copy, n, query, &q), &k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    dns_records(data + 1, size - 1, on_record, NULL);
    if (data[0] & 1)
        as_answer(data + 1, size - 1);
    else
        as_query(data + 1, size - 1);
    return 0;
}
