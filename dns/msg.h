/*
 * msg.h - DNS messages (RFC 1035, RFC 6891): taken apart with every length checked, patched in place, built
 *
 * Names are text in lower case without the final dot where people or rules see them ("" is the root), and lower-cased wire form where
 * messages are compared and kept. A name with bytes that no host name has (blanks, dots inside a label, control bytes; RFC 2181 section 11
 * allows them) has no text: it is `odd` and goes to a name server untouched, so nothing that looks at names can be fooled by it.
 */
#ifndef DNS_MSG_H
#define DNS_MSG_H

#include "core/addr.h"
#include "core/reader.h"

enum { T_A = 1, T_NS = 2, T_CNAME = 5, T_SOA = 6, T_PTR = 12, T_TXT = 16, T_AAAA = 28, T_OPT = 41, T_RRSIG = 46 };
enum { T_SVCB = 64, T_HTTPS = 65, T_ANY = 255 };
enum { C_IN = 1 };
enum { RC_OK, RC_FORMERR, RC_SERVFAIL, RC_NXDOMAIN, RC_NOTIMP, RC_REFUSED, RC_BADVERS = 16 };

#define DNS_HEADER    12
#define DNS_MAX       65535
#define DNS_NAME      255                                              /* longest name in wire form */
#define DNS_UDP_MAX   1232                                             /* what we send at most over UDP, and what we say we take */
#define DNS_OPT       11                                               /* our own OPT record */
#define DNS_QUERY_MAX (DNS_HEADER + DNS_NAME + 4 + DNS_OPT + 24 + 132) /* with client subnet and padding */
#define DNS_ADDRS     16                                               /* addresses that are taken out of one answer */

/* ---- queries of clients ---- */

struct question {
    char name[HOST_MAX + 1]; /* "" for the root and for odd names */
    uint8_t name_len;
    bool odd;
    uint16_t type, class_;
    uint16_t end; /* offset behind the question */
    bool has_opt, do_bit, ad_bit, cd_bit;
    uint16_t client_max; /* UDP size the client takes, at least 512 */
};

enum msg_verdict { MSG_GOOD, MSG_JUNK, MSG_FORMERR, MSG_NOTIMP, MSG_BADVERS };
/* Looks at a query. MSG_JUNK: not to be answered (a response, too short). With FORMERR and NOTIMP only the header can be trusted. */
enum msg_verdict msg_parse_query(const uint8_t *m, size_t len, struct question *q);

/* An answer of our own: header and question as the client wrote them, flags QR AA RA and its RD. Addresses that are not of the asked type
 * are left out. alias: a CNAME in front, whose target then owns the addresses; NULL = none. out has room for `room` bytes and may be the
 * query itself. Returns the length; records that do not fit are left out. */
struct reply {
    int rcode;
    const char *alias;
    uint32_t alias_ttl;
    const struct addr *addr;
    int n;
    uint32_t ttl;
};
size_t msg_answer(const uint8_t *query, const struct question *q, const struct reply *r, uint8_t *out, size_t room);
/* One PTR record. */
size_t msg_answer_ptr(const uint8_t *query, const struct question *q, const char *name, uint32_t ttl, uint8_t *out, size_t room);
/* A header alone with an error, for queries that could not be parsed. */
size_t msg_error(const uint8_t *query, int rcode, uint8_t out[DNS_HEADER]);
#define DNS_REPLY_MAX (DNS_HEADER + DNS_NAME + 4 + 12 + DNS_NAME + DNS_ADDRS * 28 + DNS_OPT) /* room that is always enough */

/* ---- questions as we keep and ask them ---- */

enum { Q_DO = 1, Q_CD = 2 };
struct qkey {
    uint16_t type, class_;
    uint8_t flags;          /* Q_DO | Q_CD */
    uint8_t len;            /* of name, at least 1 */
    uint8_t name[DNS_NAME]; /* wire form, lower case */
};
/* From a client's parsed query. */
void qkey_of(const uint8_t *query, const struct question *q, struct qkey *k);
/* From text (lower case, no final dot) and a type, class IN. false: no name. */
bool qkey_make(const char *name, uint16_t type, struct qkey *k);
bool qkey_eq(const struct qkey *a, const struct qkey *b);
uint64_t qkey_hash(const struct qkey *k);
/* The name for people: odd bytes as \DDD (RFC 4343 section 2.1). buf has DNS_NAME_TEXT bytes. */
#define DNS_NAME_TEXT (4 * DNS_NAME + 1)
const char *qkey_text(const struct qkey *k, char *buf);

/* Builds a query with OPT. ecs: a client subnet (RFC 7871) or NULL; pad: the length is brought to a multiple of this (RFC 7830; 0 = no
 * padding), at most 128. out has DNS_QUERY_MAX bytes. */
size_t msg_query(const struct qkey *k, uint16_t id, const struct cidr *ecs, unsigned pad, uint8_t *out);
/* A way of writing the key's name with letters in upper and lower case that nobody else would use: false when it has too few letters. */
bool qkey_respell(const struct qkey *k, uint8_t out[DNS_NAME]);

/* ---- answers of name servers ---- */

struct answer {
    int rcode; /* with the upper bits of OPT */
    bool truncated;
    uint32_t ttl; /* smallest of all records but OPT; of negative answers bounded by the SOA; 0 = do not keep */
    struct addr addr[DNS_ADDRS];
    int n_addr;
    size_t end; /* behind the last record */
    size_t opt; /* where OPT begins, if it is the last record; else 0 */
};
/* Somebody knows: it is there, or there is none. SERVFAIL, REFUSED and the like are no answer. */
static inline bool answer_knows(const struct answer *a)
{
    return a->rcode == RC_OK || a->rcode == RC_NXDOMAIN;
}
/* Is this an answer to k (QR, one question, its name, type and class), and well formed to the end? */
bool msg_parse_answer(const uint8_t *m, size_t len, const struct qkey *k, struct answer *a);
/* Takes the server's OPT and what is behind the records away; returns the new length. m was parsed into a. */
size_t msg_strip(uint8_t *m, const struct answer *a);
/* Copies an answer that msg_parse_answer() took, without the records of n types and their signatures; byte by byte when there are none. out
 * has DNS_MAX bytes. Returns its length; 0: the name of a record leads nowhere, or the copy would be too long (names that were compressed
 * by one that is gone are written out). */
size_t msg_without(const uint8_t *m, size_t len, const uint16_t *types, unsigned n, uint8_t *out);

/* Offsets of all TTLs but OPT's, at most max; their number. */
int msg_ttls(const uint8_t *m, size_t len, uint16_t *at, int max);

/* Makes a kept answer (stripped, of len bytes) one for this client: id, RD, question as it was written, AD only where it was asked for, our
 * OPT if it sent one. m has room for DNS_OPT more bytes. Returns the new length. */
size_t msg_for_client(uint8_t *m, size_t len, const uint8_t *query, const struct question *q);

/* ---- names ---- */

/* A name in a message, label by label; where it is compressed the rest is followed, backwards only. */
struct name_walk {
    const uint8_t *m;
    size_t len;
    struct rd *r, at;
    size_t lowest; /* pointers must lead before this */
    unsigned total, jumps;
};
/* r stands at the name, in the message m. */
struct name_walk msg_name(struct rd *r, const uint8_t *m, size_t len);
/* 1: *label is the next one; 0: that was all, and r stands behind the name; -1: it is malformed. r stands there already once a label
 * came from elsewhere. */
int msg_label(struct name_walk *w, struct span *label);

/* Text to wire; bytes written (with the final 0), 0 when it is no name. */
size_t msg_put_name(const char *name, uint8_t out[DNS_NAME]);
/* The address of a reverse name (in-addr.arpa, ip6.arpa): false if it is none. */
bool msg_reverse_addr(const char *name, struct addr *a);

static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}
static inline uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

#endif
