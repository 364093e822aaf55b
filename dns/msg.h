/*
 * msg.h - DNS messages (RFC 1035, RFC 6891): taken apart with every length checked, patched in place, built
 */
#ifndef DNS_MSG_H
#define DNS_MSG_H

#include "core/addr.h"

enum { T_A = 1, T_CNAME = 5, T_SOA = 6, T_PTR = 12, T_AAAA = 28, T_OPT = 41, T_SVCB = 64, T_HTTPS = 65 };
enum { RC_OK = 0, RC_FORMERR = 1, RC_SERVFAIL = 2, RC_NXDOMAIN = 3, RC_NOTIMP = 4, RC_REFUSED = 5 };

#define DNS_HEADER 12
#define DNS_MAX 65535
#define DNS_UDP_MAX 1232 /* what we send at most over UDP, and what we say we take */

struct question {
    char name[HOST_MAX + 1]; /* lower case, no final dot; "" is the root */
    uint16_t type, class_;
    uint16_t end;            /* offset behind the question */
    bool has_opt, do_bit;
    uint16_t client_max;     /* UDP size the client takes, at least 512 */
};

enum msg_verdict { MSG_GOOD, MSG_JUNK, MSG_FORMERR, MSG_NOTIMP };
/* Looks at a query. MSG_JUNK: not to be answered (a response, too short). With FORMERR and NOTIMP only the header can be trusted. */
enum msg_verdict msg_parse_query(const uint8_t *m, size_t len, struct question *q);

/* Builds an answer of its own for a parsed query into out (at least q->end + n * (28 + 256) + 11 bytes, at most DNS_UDP_MAX used for addresses): header and question as the
 * client wrote them, flags QR AA RA and its RD, rcode, n addresses of the asked type. Returns the length. */
size_t msg_answer(const uint8_t *query, const struct question *q, int rcode, const struct addr *addr, int n, uint32_t ttl, uint8_t *out, size_t size);
/* One PTR record. */
size_t msg_answer_ptr(const uint8_t *query, const struct question *q, const char *name, uint32_t ttl, uint8_t *out, size_t size);
/* A header alone with an error, for queries that could not be parsed. */
size_t msg_error(const uint8_t *query, int rcode, uint8_t out[DNS_HEADER]);

/* Builds a query with OPT. Returns the length (at most 512), 0 for a bad name. */
size_t msg_query(const char *name, uint16_t type, uint16_t id, uint8_t out[512]);

/* Walks the answer of a name server. false: malformed. All out parameters may be NULL. */
struct answer {
    int rcode;
    bool truncated;
    uint32_t ttl; /* smallest of all records but OPT; for negative answers by the SOA; 0 = do not keep */
    struct addr addr[16];
    int n_addr;
};
bool msg_parse_answer(const uint8_t *m, size_t len, struct answer *a);
/* Counts all TTLs down by `age` seconds (not below 1). The message was parsed before. */
void msg_age(uint8_t *m, size_t len, uint32_t age);

/* The address of a reverse name (in-addr.arpa, ip6.arpa): false if it is none. */
bool msg_reverse_addr(const char *name, struct addr *a);

#endif
