/*
 * sniff_quic.c - datagrams of QUIC. The first byte chooses: the rest is one datagram, or frames that are packed into packets with good
 * keys, which no change by chance would pass
 *
 *   [length 2 | frames] ...      bit 15 of the length: the packet begins a new datagram
 */
#include "core/reader.h"
#include "engine/sniff.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/quic_initial.h"

static void sealed(struct sniff_quic *q, const struct quic_keys *k, struct rd r)
{
    static struct out datagram, frames;
    char host[HOST_MAX + 1];

    datagram.len = 0;
    for (unsigned number = 0; rd_left(&r) > 2 && number < 8; number++) {
        uint16_t head = rd_be16(&r);
        struct span s = rd_span(&r, (head & 0x7ff) < rd_left(&r) ? head & 0x7ff : rd_left(&r));

        if (head & 0x8000 && datagram.len) {
            (void)sniff_quic(q, datagram.b, datagram.len, host);
            datagram.len = 0;
        }
        frames.len = 0;
        put(&frames, s.p, s.len);
        put(&frames, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
        put_initial(&datagram, k, number, 1 + number % 4, "", &frames);
    }
    (void)sniff_quic(q, datagram.b, datagram.len, host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sniff_quic *q = sniff_quic_new();
    char host[HOST_MAX + 1];

    if (q && size && data[0] & 0x40)
        (void)sniff_quic(q, data + 1, size - 1, host);
    else if (q && size)
        sealed(q, &quic_keys[data[0] & 1], rd_from(data + 1, size - 1));
    sniff_quic_free(q);
    return 0;
}
