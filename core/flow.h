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
enum flow_via { FLOW_VIA_TUN = 1, FLOW_VIA_SOCKS, FLOW_VIA_HTTP, FLOW_VIA_INNER };
enum flow_host_from { HOST_NONE, HOST_FAKEIP, HOST_SNIFFED, HOST_CLIENT, HOST_REVERSE };

struct flow_meta {
    uint8_t net;       /* enum flow_net */
    uint8_t via;       /* enum flow_via */
    uint8_t host_from; /* enum flow_host_from */
    struct endpoint src;
    struct endpoint orig; /* the address the client dialled (maybe a fake one) */
    struct dest dst;      /* the name once known; dst.at.ip only if it is a real address, dst.at.port always */
};

#endif
