/*
 * ns_text.h - the text of a name server (clash-profile section 2.5)
 */
#ifndef DNS_NS_TEXT_H
#define DNS_NS_TEXT_H

#include <net/if.h>

#include "core/addr.h"

enum ns_kind { NS_UDP, NS_TCP, NS_TLS, NS_HTTPS, NS_HTTP, NS_SYSTEM, NS_DHCP, NS_RCODE };

#define NS_TEXT_MAX  1024 /* longest text taken */
#define NS_TYPES_MAX 8

struct ns_spec {
    enum ns_kind kind;
    char host[HOST_MAX + 1]; /* a name, or the text of ip; of NS_DHCP the interface */
    struct addr ip;          /* ver 0: host is a name */
    uint16_t port;
    int rcode;                   /* NS_RCODE */
    char path[512];              /* NS_HTTP(S): "/dns-query" */
    char user[256];              /* NS_HTTP(S): "name:password", "" = none; a secret */
    char via[256];               /* "" = straight; "RULES"; a proxy or group; from ns_parse() perhaps an interface */
    char interface[IF_NAMESIZE]; /* to leave by; "" = as the profile says */
    bool quic, h3;               /* asked for and not there: NS_TLS, NS_HTTPS are used */
    bool skip_cert_verify, disable_reuse;
    struct cidr ecs;                 /* ver 0 = none */
    uint16_t disabled[NS_TYPES_MAX]; /* types that are answered empty */
    unsigned n_disabled;
};

/* NULL, or what is wrong (static words that end the sentence "the name server "..." "). */
const char *ns_parse(const char *text, struct ns_spec *out);
/* The words that may stand before ://, and behind rcode://, one by one; NULL behind the last. */
const char *ns_scheme_word(unsigned i);
const char *ns_rcode_word(unsigned i);

#endif
