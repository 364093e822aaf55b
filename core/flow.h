/*
 * flow.h - who talks to whom: what is known of a flow
 *
 * The facts that rules look at and that the log, the CLI and the API show. Filled by whoever brings the flow in (TUN,
 * later the local ports), completed by the engine.
 */
#ifndef CORE_FLOW_H
#define CORE_FLOW_H

#include <stdint.h>

#include "core/addr.h"

enum flow_net { FLOW_TCP = 1, FLOW_UDP = 2 };

/* The kind of in-bound a flow came by: the words of IN-TYPE (clash-profile section 13). The last row is known by name only. */
enum flow_via {
    FLOW_VIA_UNKNOWN, FLOW_VIA_TUN, FLOW_VIA_HTTP, FLOW_VIA_HTTPS, FLOW_VIA_SOCKS4, FLOW_VIA_SOCKS5, FLOW_VIA_REDIR, FLOW_VIA_TPROXY,
    FLOW_VIA_TUNNEL, FLOW_VIA_INNER /* our own: downloads, connections to name servers */,
    FLOW_VIA_SHADOWSOCKS, FLOW_VIA_SNELL, FLOW_VIA_VMESS, FLOW_VIA_VLESS, FLOW_VIA_TROJAN, FLOW_VIA_TUIC, FLOW_VIA_HYSTERIA2,
    FLOW_VIA_ANYTLS, FLOW_VIA_MIERU, FLOW_VIA_SUDOKU, FLOW_VIA_TRUSTTUNNEL,
    FLOW_N_VIAS
};
enum flow_host_from { HOST_NONE, HOST_FAKEIP, HOST_SNIFFED, HOST_CLIENT, HOST_REVERSE };

/* The program that owns the local socket, as far as it could be found. */
struct flow_proc {
    const char *name;   /* last part of the path; NULL = not known */
    const char *path;   /* NULL = not known */
    uint32_t uid;
    bool uid_known;
};

struct flow_meta {
    uint8_t net;       /* enum flow_net */
    uint8_t via;       /* enum flow_via */
    uint8_t host_from; /* enum flow_host_from */
    uint8_t depth;     /* of our own connections to name servers: how many look-ups wait for it; 0 = traffic */
    uint8_t dscp;      /* of the first packet, 0..63 */
    uint16_t in_port;  /* the local port it came by; 0 = none (TUN) */
    struct endpoint src;
    struct endpoint orig; /* the address the client dialled (maybe a fake one) */
    struct dest dst;      /* the name once known; dst.at.ip only if it is a real address, dst.at.port always */
    /* Borrowed like dst.host; NULL = none. */
    const char *sniffed;  /* a name seen in the flow's first bytes, lower case: rules look at it instead of dst.host */
    const struct flow_proc *proc; /* NULL until a rule has asked, or the look-up failed */
    const char *in_name, *in_user;
};

/* "TUN", "SOCKS5"; and back, without regard to letter case: FLOW_VIA_UNKNOWN for any other word. */
const char *flow_via_name(enum flow_via via);
enum flow_via flow_via_parse(const char *word);
/* What the in-bound is called when the profile gives it no name (clash-profile section 4): "DEFAULT-TUN". NULL: none. */
const char *flow_in_name(enum flow_via via);

#endif
