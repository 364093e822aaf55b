/*
 * dns.c - the control API's view of names: one question, the caches, DNS over HTTPS
 *
 *   GET /dns/query?name=N&type=T     what the name servers say; with `as=client` what a program would be told (hosts and fake addresses,
 * too), and by whom POST /cache/dns/flush            forgets real answers POST /cache/fakeip/flush         forgets the names of fake
 * addresses, but those of live flows GET, POST external-doh-server    RFC 8484
 *
 * An answer may take seconds: the connection is suspended until it comes. Who is gone by then is told nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "controller/private.h"
#include "dns/dns.h"

#define DOH_TYPE "application/dns-message"
#define DOH_MAX  4096 /* longest query */

struct asked {
    struct list_head node; /* ctl.asked, while q is there */
    struct request *q;     /* NULL: the controller is gone */
    bool raw;              /* the message itself is the answer */
    bool inside;           /* the call that asks has not returned */
};

/* ---- a message as JSON ---- */

static void add_record(void *arg, const struct dns_record *r)
{
    static const char *const key[] = { "Question", "Answer", "Authority", "Additional" };
    json_t *all = arg, *list = json_object_get(all, key[r->section]);
    char word[16];

    if (!list)
        json_object_set_new(all, key[r->section], list = json_array());
    json_array_append_new(list, r->section ? json_pack("{s:s, s:i, s:s, s:I, s:s}", "name", r->name, "type", r->type, "typeName",
                                                       dns_type_name(r->type, word), "TTL", (json_int_t)r->ttl, "data", r->data)
                                           : json_pack("{s:s, s:i, s:i}", "Name", r->name, "Qtype", r->type, "Qclass", r->class_));
}

/* The fields of public JSON resolvers, and in lower case who answered. */
static json_t *json_message(const uint8_t *m, size_t len, const struct dns_answered *by)
{
    json_t *j = json_pack("{s:i, s:b, s:b, s:b, s:b, s:b, s:{s:s, s:s?, s:i}}", "Status", m[3] & 15, "TC", m[2] & 2, "RD", m[2] & 1, "RA",
                          m[3] & 0x80, "AD", m[3] & 0x20, "CD", m[3] & 0x10, "answered", "by", dns_how_names[by->how], "server", by->server,
                          "ms", (int)by->ms);

    if (j)
        dns_records(m, len, add_record, j);
    return j;
}

/* ---- asking ---- */

static void set_answer(struct asked *a, const void *msg, size_t len, const struct dns_answered *by)
{
    struct request *q = a->q;

    q->later_status = 200;
    if (a->raw && (q->later_raw = MHD_create_response_from_buffer(len, (void *)msg, MHD_RESPMEM_MUST_COPY)))
        MHD_add_response_header(q->later_raw, "Content-Type", DOH_TYPE);
    else if (!a->raw && by->how != DNS_BY_NOBODY)
        q->later = json_message(msg, len, by);
    if (q->later || q->later_raw)
        return;
    q->later_status = 500;
    q->later = json_pack("{s:s}", "message", "no name server answered");
}

static void on_answer(void *arg, const struct endpoint *client, const struct endpoint *server, const void *msg, size_t len,
                      const struct dns_answered *by)
{
    struct asked *a = arg;

    if (a->q) {
        list_del(&a->node);
        set_answer(a, msg, len, by);
        if (!a->inside) {
            a->q->suspended = false;
            MHD_resume_connection(a->q->conn);
            listener_kick(a->q->listener);
        }
    }
    if (!a->inside)
        free(a);
    else
        a->inside = false; /* tells ask() that it has come */
}

static enum MHD_Result ask(struct request *q, const void *query, size_t len, bool raw, bool real)
{
    struct asked *a = malloc(sizeof(*a));

    if (!a)
        return MHD_NO;
    *a = (struct asked){ .q = q, .raw = raw, .inside = true };
    list_append(&q->ctl->asked, &a->node);
    dns_query(eng_dns(q->ctl->eng), query, len, &(struct dns_client){ .reply = on_answer, .arg = a, .real = real }, NULL, NULL);
    if (!a->inside) {
        free(a);
        return answer_later(q);
    }
    a->inside = false;
    q->suspended = true;
    MHD_suspend_connection(q->conn);
    return MHD_YES;
}

void dns_forget_asked(struct ctl *c)
{
    for (struct list_head *n; (n = list_first(&c->asked));) {
        struct asked *a = container_of(n, struct asked, node);

        list_del(n);
        a->q->later_status = 503;
        a->q->later = json_pack("{s:s}", "message", "the controller ends");
        a->q->suspended = false;
        MHD_resume_connection(a->q->conn);
        a->q = NULL;
    }
}

/* ---- handlers ---- */

enum MHD_Result get_dns_query(struct request *q)
{
    const char *name = query_arg(q, "name"), *type = query_arg(q, "type"), *as = query_arg(q, "as");
    char *decoded = name ? percent_decode(name, strlen(name)) : NULL;
    uint16_t t = type && *type ? dns_type(type) : 1;
    uint8_t query[DNS_ASK_MAX];
    size_t len = decoded && t ? dns_make_query(decoded, t, query) : 0;

    free(decoded);
    if (!t)
        return answer_error(q, 400, "invalid query type");
    if (!len)
        return answer_error(q, 400, "invalid name");
    return ask(q, query, len, false, !as || strcmp(as, "client") != 0);
}

enum MHD_Result post_dns_flush(struct request *q)
{
    dns_flush(eng_dns(q->ctl->eng));
    return answer_empty(q, 204);
}

enum MHD_Result post_fakeip_flush(struct request *q)
{
    if (dns_fake_flush(eng_dns(q->ctl->eng)) < 0)
        return answer_error(q, 400, "fake-ip is off");
    return answer_empty(q, 204);
}

/* base64url without padding (RFC 4648 section 5). The length, 0 when it is none or too long. */
static size_t decode(const char *s, uint8_t *out, size_t size)
{
    size_t n = 0;
    uint32_t bits = 0;
    unsigned have = 0;

    for (; *s && *s != '='; s++) {
        int v = *s >= 'A' && *s <= 'Z'   ? *s - 'A'
                : *s >= 'a' && *s <= 'z' ? *s - 'a' + 26
                : *s >= '0' && *s <= '9' ? *s - '0' + 52
                : *s == '-'              ? 62
                : *s == '_'              ? 63
                                         : -1;

        if (v < 0)
            return 0;
        bits = bits << 6 | (uint32_t)v;
        if ((have += 6) < 8)
            continue;
        have -= 8;
        if (n == size)
            return 0;
        out[n++] = (uint8_t)(bits >> have);
    }
    return n;
}

bool is_doh(const struct request *q)
{
    const char *path = eng_profile(q->ctl->eng)->external_doh_server;

    return path && *path == '/' && !strcmp(q->path, path);
}

enum MHD_Result serve_doh(struct request *q)
{
    const char *coded = query_arg(q, "dns"), *type = MHD_lookup_connection_value(q->conn, MHD_HEADER_KIND, "Content-Type");
    uint8_t query[DOH_MAX];
    size_t len = 0;

    if (!strcmp(q->method, "GET") && coded) {
        len = decode(coded, query, sizeof(query));
    } else if (!strcmp(q->method, "POST")) {
        if (!type || strncmp(type, DOH_TYPE, strlen(DOH_TYPE)) != 0)
            return answer_error(q, 415, "the body must be " DOH_TYPE);
        if (q->body_len <= sizeof(query))
            len = q->body_len;
        if (len)
            memcpy(query, q->body, len);
    } else if (strcmp(q->method, "GET") != 0) {
        return answer_error(q, 405, "Method not allowed");
    }
    if (len < 12 || query[2] & 0x80) /* what nobody would answer */
        return answer_error(q, 400, "no DNS query");
    return ask(q, query, len, true, false);
}
