/*
 * dns_text.h - messages for tests: queries made byte by byte, answers told in words by the C library's parser (not by ours)
 */
#ifndef TESTS_DNS_TEXT_H
#define TESTS_DNS_TEXT_H

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <resolv.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { ASK_RD = 1, ASK_EDNS = 2, ASK_DO = 4, ASK_CD = 8, ASK_AD = 16 };

/* Bytes of a message under construction. */
struct wire {
    uint8_t b[65535 + 512];
    size_t len;
};

static inline void w8(struct wire *w, unsigned v)
{
    w->b[w->len++] = (uint8_t)v;
}
static inline void w16(struct wire *w, unsigned v)
{
    w8(w, v >> 8);
    w8(w, v & 255);
}
static inline void w32(struct wire *w, uint32_t v)
{
    w16(w, v >> 16);
    w16(w, v & 0xffff);
}
static inline void wname(struct wire *w, const char *name)
{
    while (*name) {
        size_t n = strcspn(name, ".");

        w8(w, (unsigned)n);
        memcpy(w->b + w->len, name, n);
        w->len += n;
        name += n + (name[n] == '.');
    }
    w8(w, 0);
}
static inline void whead(struct wire *w, uint16_t id, uint16_t flags, unsigned qd, unsigned an, unsigned ns, unsigned ar)
{
    w->len = 0;
    w16(w, id);
    w16(w, flags);
    w16(w, qd);
    w16(w, an);
    w16(w, ns);
    w16(w, ar);
}
static inline void wquestion(struct wire *w, const char *name, unsigned type)
{
    wname(w, name);
    w16(w, type);
    w16(w, 1);
}
/* A record owned by the question's name (NULL) or by a name; data in hex-free form: len bytes. */
static inline void wrecord(struct wire *w, const char *owner, unsigned type, uint32_t ttl, const void *data, size_t len)
{
    if (owner)
        wname(w, owner);
    else
        w16(w, 0xc00c);
    w16(w, type);
    w16(w, 1);
    w32(w, ttl);
    w16(w, (unsigned)len);
    memcpy(w->b + w->len, data, len);
    w->len += len;
}
static inline void waddr(struct wire *w, const char *owner, uint32_t ttl, const char *addr)
{
    uint8_t b[16];
    bool v6 = strchr(addr, ':');

    inet_pton(v6 ? AF_INET6 : AF_INET, addr, b);
    wrecord(w, owner, v6 ? 28 : 1, ttl, b, v6 ? 16 : 4);
}
static inline void wopt(struct wire *w, unsigned size, uint32_t ttl, const void *options, size_t len)
{
    w8(w, 0);
    w16(w, 41);
    w16(w, size);
    w32(w, ttl);
    w16(w, (unsigned)len);
    memcpy(w->b + w->len, options, len);
    w->len += len;
}
static inline void wsoa(struct wire *w, const char *owner, uint32_t ttl, uint32_t minimum)
{
    struct wire data = { .len = 0 };

    wname(&data, "ns.test");
    wname(&data, "root.test");
    for (int i = 0; i < 4; i++)
        w32(&data, 1000);
    w32(&data, minimum);
    wrecord(w, owner, 6, ttl, data.b, data.len);
}

/* A query as a stub resolver sends it. */
static inline void wquery(struct wire *w, uint16_t id, const char *name, unsigned type, unsigned how)
{
    whead(w, id, (how & ASK_RD ? 0x0100 : 0) | (how & ASK_CD ? 0x10 : 0) | (how & ASK_AD ? 0x20 : 0), 1, 0, 0,
          how & (ASK_EDNS | ASK_DO) ? 1 : 0);
    wquestion(w, name, type);
    if (how & (ASK_EDNS | ASK_DO))
        wopt(w, 4096, how & ASK_DO ? 0x8000 : 0, "", 0);
}

/* The beginning of an answer: the query's id and question, byte by byte. */
static inline void wanswer(struct wire *w, const uint8_t *query, size_t len, uint16_t flags, unsigned an, unsigned ns, unsigned ar)
{
    size_t end = 12;

    while (end < len && query[end])
        end += query[end] + 1u;
    end += 5;
    whead(w, (uint16_t)(query[0] << 8 | query[1]), flags, 1, an, ns, ar);
    memcpy(w->b + 12, query + 12, end - 12);
    w->len = end;
}

/* "NOERROR aa rd ra | www.test A | www.test 1 A 198.18.0.4 | OPT 1232 do": flags, question, records. "broken" when the C library does not
 * take it. */
static inline const char *told(const uint8_t *m, size_t len)
{
    static char out[16384];
    static const char *const rcodes[] = { "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED" };
    size_t at = 0;
    ns_msg h;

    if (ns_initparse(m, (int)len, &h) < 0)
        return "broken";
    at += (size_t)snprintf(out + at, sizeof(out) - at, "%s",
                           ns_msg_getflag(h, ns_f_rcode) < 6 ? rcodes[ns_msg_getflag(h, ns_f_rcode)] : "other");
    static const struct {
        ns_flag f;
        const char *word;
    } flags[] = { { ns_f_aa, "aa" }, { ns_f_tc, "tc" }, { ns_f_rd, "rd" }, { ns_f_ra, "ra" }, { ns_f_ad, "ad" }, { ns_f_cd, "cd" } };
    if (!ns_msg_getflag(h, ns_f_qr))
        at += (size_t)snprintf(out + at, sizeof(out) - at, " query");
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (ns_msg_getflag(h, flags[i].f))
            at += (size_t)snprintf(out + at, sizeof(out) - at, " %s", flags[i].word);
    for (int s = 0; s < 4; s++)
        for (int i = 0; i < ns_msg_count(h, s); i++) {
            static const struct {
                int type;
                const char *word;
            } types[] = { { 1, "A" }, { 28, "AAAA" }, { 5, "CNAME" }, { 12, "PTR" }, { 65, "HTTPS" }, { 6, "SOA" } };
            char name[1100], type[16], data[1100];
            ns_rr rr;

            if (ns_parserr(&h, s, i, &rr) < 0)
                return "broken";
            snprintf(type, sizeof(type), "TYPE%u", ns_rr_type(rr));
            for (size_t k = 0; k < sizeof(types) / sizeof(types[0]); k++)
                if (types[k].type == (int)ns_rr_type(rr))
                    snprintf(type, sizeof(type), "%s", types[k].word);
            if (s == 0) {
                at += (size_t)snprintf(out + at, sizeof(out) - at, " | %s %s", *ns_rr_name(rr) ? ns_rr_name(rr) : ".", type);
                continue;
            }
            if (ns_rr_type(rr) == 41) {
                at += (size_t)snprintf(out + at, sizeof(out) - at, " | OPT %u%s%s", ns_rr_class(rr), ns_rr_ttl(rr) & 0x8000 ? " do" : "",
                                       ns_rr_rdlen(rr) ? " options" : "");
                if (ns_rr_ttl(rr) >> 24)
                    at += (size_t)snprintf(out + at, sizeof(out) - at, " rcode+%u", (unsigned)ns_rr_ttl(rr) >> 24 << 4);
                continue;
            }
            snprintf(name, sizeof(name), "%s", ns_rr_name(rr));
            snprintf(data, sizeof(data), "%u bytes", ns_rr_rdlen(rr));
            if (ns_rr_type(rr) == 1)
                inet_ntop(AF_INET, ns_rr_rdata(rr), data, sizeof(data));
            else if (ns_rr_type(rr) == 28)
                inet_ntop(AF_INET6, ns_rr_rdata(rr), data, sizeof(data));
            else if (ns_rr_type(rr) == 5 || ns_rr_type(rr) == 12)
                ns_name_uncompress(ns_msg_base(h), ns_msg_end(h), ns_rr_rdata(rr), data, sizeof(data));
            at += (size_t)snprintf(out + at, sizeof(out) - at, " | %s %u %s %s", *name ? name : ".", (unsigned)ns_rr_ttl(rr), type, data);
        }
    return out;
}

#endif
