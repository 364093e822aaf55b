/*
 * pkt_codec.c - datagrams as frames in a stream
 *
 * Replies come from addresses, or from the name that was sent to: servers that look it up themselves may say that back.
 */
#include "outbound/pkt_codec.h"

#include <string.h>

#include "core/err.h"
#include "core/pool.h"
#include "outbound/atyp.h"
#include "outbound/vmess.h"

static uint8_t *put_be16(uint8_t *out, size_t v)
{
    out[0] = (uint8_t)(v >> 8);
    out[1] = (uint8_t)v;
    return out + 2;
}

static size_t put_data(uint8_t *out, uint8_t *at, const void *buf, size_t len)
{
    if (len)
        memcpy(at, buf, len);
    return (size_t)(at - out) + len;
}

/* ---- trojan ---- */

static size_t trojan_put(struct pkt_state *st, const struct dest *to, const void *buf, size_t len, uint8_t *out)
{
    size_t n = atyp_put(out, to);
    uint8_t *at = put_be16(out + n, len);

    if (!n)
        return 0;
    at[0] = '\r';
    at[1] = '\n';
    return put_data(out, at + 2, buf, len);
}

/* The length of an address as SOCKS5 writes it, its two first bytes known: 0 for an unknown type. */
static size_t atyp_size(const uint8_t b[2])
{
    switch (b[0]) {
    case ATYP_V4: return 1 + 4 + 2;
    case ATYP_V6: return 1 + 16 + 2;
    case ATYP_NAME: return 2 + (size_t)b[1] + 2;
    default: return 0;
    }
}

static int trojan_get(struct pkt_state *st, struct rd *r, struct sender *from, struct span *payload)
{
    struct span crlf, address;
    uint16_t len;
    struct rd a;

    if (rd_left(r) >= 2 && !atyp_size(r->p))
        return -ERR_PROTO;
    address = rd_span(r, rd_left(r) < 2 ? SIZE_MAX : atyp_size(r->p));
    len = rd_be16(r);
    crlf = rd_span(r, 2);
    if (!rd_ok(r))
        return 0;
    a = rd_from(address.p, address.len);
    sender_get(&a, from);
    if (!rd_ok(&a))
        return -ERR_PROTO;
    if (crlf.p[0] != '\r' || crlf.p[1] != '\n')
        return -ERR_PROTO;
    *payload = rd_span(r, len);
    return rd_ok(r);
}

/* trojan: larger ones than 8 KiB are refused or cut by servers in use. */
const struct pkt_codec pkt_trojan = { .name = "trojan", .most = 8192, .put = trojan_put, .get = trojan_get };

/* ---- a length in front ---- */

static size_t length_put(struct pkt_state *st, const struct dest *to, const void *buf, size_t len, uint8_t *out)
{
    return put_data(out, put_be16(out, len), buf, len);
}

static int length_get(struct pkt_state *st, struct rd *r, struct sender *from, struct span *payload)
{
    *payload = rd_span(r, rd_be16(r));
    *from = st->peer;
    return rd_ok(r);
}

const struct pkt_codec pkt_length = { .name = "length", .most = VMESS_DATAGRAM_MAX, .to_one = true, .put = length_put, .get = length_get };

/* ---- packetaddr: 1 IPv4, 2 IPv6 ---- */

static size_t packetaddr_put(struct pkt_state *st, const struct dest *to, const void *buf, size_t len, uint8_t *out)
{
    size_t n = addr_len(&to->at.ip);
    uint8_t *at = put_be16(out, 1 + n + 2 + len);

    if (!n)
        return 0;
    *at++ = n == 4 ? 1 : 2;
    memcpy(at, to->at.ip.b, n);
    return put_data(out, put_be16(at + n, to->at.port), buf, len);
}

static int packetaddr_get(struct pkt_state *st, struct rd *r, struct sender *from, struct span *payload)
{
    struct span frame = rd_span(r, rd_be16(r)), b;
    struct rd f = rd_from(frame.p, frame.len);
    uint8_t type = rd_u8(&f);

    if (!rd_ok(r))
        return 0;
    b = rd_span(&f, type == 1 ? 4 : 16);
    from->at.port = rd_be16(&f);
    from->host[0] = 0;
    *payload = rd_span(&f, rd_left(&f));
    if (!rd_ok(&f) || (type != 1 && type != 2))
        return -ERR_PROTO;
    from->at.ip = type == 1 ? addr_v4(b.p) : addr_v6(b.p);
    return 1;
}

const struct pkt_codec pkt_packetaddr = {
    .name = "packetaddr", .most = VMESS_DATAGRAM_MAX - 19, .no_name = true, .put = packetaddr_put, .get = packetaddr_get
};

/* ---- xudp ---- */

enum { MUX_NEW = 1, MUX_KEEP, MUX_END, MUX_KEEP_ALIVE };
enum { MUX_DATA = 1, MUX_ERROR = 2 };
#define MUX_UDP 2

static size_t xudp_put(struct pkt_state *st, const struct dest *to, const void *buf, size_t len, uint8_t *out)
{
    size_t n = vmess_put_addr(out + 7, to);
    uint8_t *at = put_be16(out, 5 + n);

    if (!n)
        return 0;
    memcpy(at, (uint8_t[]){ 0, 0, st->begun ? MUX_KEEP : MUX_NEW, MUX_DATA, MUX_UDP }, 5);
    st->begun = true;
    return put_data(out, put_be16(out + 7 + n, len), buf, len);
}

/* The metadata: who sent it, if it says so. */
static int xudp_meta(struct pkt_state *st, const struct span *s, uint8_t *status, uint8_t *option)
{
    struct rd m = rd_from(s->p, s->len);
    struct endpoint at;
    struct span name;

    rd_skip(&m, 2);
    *status = rd_u8(&m);
    *option = rd_u8(&m);
    if (!rd_ok(&m))
        return -ERR_PROTO;
    if (!rd_left(&m) || *status == MUX_END || *status == MUX_KEEP_ALIVE)
        return 0;
    if (rd_u8(&m) != MUX_UDP)
        return -ERR_PROTO;
    vmess_get_addr(&m, &at, &name);
    return rd_ok(&m) ? sender_set(&st->peer, &at, &name) : -ERR_PROTO;
}

static int xudp_get(struct pkt_state *st, struct rd *r, struct sender *from, struct span *payload)
{
    struct span meta = rd_span(r, rd_be16(r)), data = { 0 };
    uint8_t status, option;
    int e;

    if (!rd_ok(r))
        return 0;
    if (meta.len < 4)
        return -ERR_PROTO;
    if (meta.p[3] & MUX_DATA)
        data = rd_span(r, rd_be16(r));
    if (!rd_ok(r))
        return 0; /* before anything is remembered of it */
    if ((e = xudp_meta(st, &meta, &status, &option)) < 0)
        return e;
    if (status == MUX_END)
        return -STREAM_EOF; /* with MUX_ERROR too: the destination could not be reached, of which the node is innocent */
    *payload = status == MUX_KEEP || status == MUX_NEW ? data : (struct span){ 0 };
    if (!(option & MUX_DATA))
        payload->p = NULL;
    *from = st->peer;
    return payload->p && !addr_is_set(&from->at.ip) && !*from->host ? -ERR_PROTO : 1;
}

const struct pkt_codec pkt_xudp = { .name = "xudp", .most = VMESS_DATAGRAM_MAX, .put = xudp_put, .get = xudp_get };

/* ---- UDP over TCP: 0 IPv4, 1 IPv6, 2 name ---- */

static size_t uot1_put(struct pkt_state *st, const struct dest *to, const void *buf, size_t len, uint8_t *out)
{
    static const uint8_t types[] = { [ATYP_V4] = 0, [ATYP_NAME] = 2, [ATYP_V6] = 1 };
    size_t n = atyp_put(out, to);

    if (!n)
        return 0;
    out[0] = types[out[0]];
    return put_data(out, put_be16(out + n, len), buf, len);
}

static int uot_get(struct pkt_state *st, struct rd *r, struct sender *from, struct span *payload)
{
    uint8_t type = rd_u8(r);
    struct span b = rd_span(r, type == 0 ? 4 : type == 1 ? 16 : rd_u8(r));
    struct endpoint at = { .port = rd_be16(r) };

    *payload = rd_span(r, rd_be16(r));
    if (type > 2)
        return -ERR_PROTO;
    if (!rd_ok(r))
        return 0;
    if (type < 2)
        at.ip = type == 0 ? addr_v4(b.p) : addr_v6(b.p);
    return sender_set(from, &at, &b) < 0 ? -ERR_PROTO : 1;
}

/* Version 2 begins with "not connected" and a destination that is then of no use. */
static size_t uot2_put(struct pkt_state *st, const struct dest *to, const void *buf, size_t len, uint8_t *out)
{
    size_t before = 0, n;

    if (!st->begun) {
        out[0] = 0;
        before = 1 + atyp_put(out + 1, to);
    }
    if (before == 1 || !(n = uot1_put(st, to, buf, len, out + before)))
        return 0;
    st->begun = true;
    return before + n;
}

#define UOT_MOST (BUF_SIZE - PKT_FRAME_EXTRA) /* what the session has room for */

/* Names: servers of version 1 do not look them up, those of version 2 do for the first. */
const struct pkt_codec pkt_uot1 = { .name = "udp-over-tcp", .most = UOT_MOST, .no_name = true, .put = uot1_put, .get = uot_get };
const struct pkt_codec pkt_uot2 = { .name = "udp-over-tcp", .most = UOT_MOST, .put = uot2_put, .get = uot_get };
