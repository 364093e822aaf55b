/* pkt_codec.c - frames with datagrams, as servers may send them; the first byte chooses the way they are written */
#include <string.h>

#include "outbound/pkt_codec.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pkt_codec *const all[] = { &pkt_trojan, &pkt_length, &pkt_packetaddr, &pkt_xudp, &pkt_uot1, &pkt_uot2 };
    struct pkt_state st = { 0 };
    const struct pkt_codec *c;
    struct rd all_of_it;
    int r = 1;

    if (!size)
        return 0;
    c = all[*data % 6];
    all_of_it = rd_from(data + 1, size - 1);
    while (r > 0 && rd_left(&all_of_it)) {
        struct rd rd = all_of_it;
        struct sender from = { 0 };
        struct span payload = { 0 };

        r = c->get(&st, &rd, &from, &payload);
        if (r > 0 && (rd.p <= all_of_it.p || (payload.p && (payload.p < all_of_it.p || payload.p + payload.len > rd.p))))
            __builtin_trap(); /* no way on, or a payload from elsewhere */
        all_of_it = rd;
    }
    return 0;
}
