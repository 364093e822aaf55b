/*
 * ss_udp.c - Shadowsocks datagrams of the older edition
 *
 *   salt | sealed (address | payload), tag        nonce 0, a fresh salt and subkey for every one, both ways alike
 *
 * Pure: bytes in, bytes out.
 */
#include <errno.h>
#include <string.h>

#include "outbound/ss.h"

ssize_t ss_udp_seal(const struct ss_key *k, const uint8_t *salt, const struct dest *to, const void *buf, size_t len, uint8_t *out)
{
    size_t salt_len = k->len, head_len;
    struct ss_dir d = { 0 };
    uint8_t head[ATYP_MAX];
    int r;

    if (!(head_len = atyp_put(head, to)))
        return -ERR_NAME;
    if (salt_len + head_len + len + SS_TAG > SS_DATAGRAM_MAX)
        return -EMSGSIZE;
    if ((r = ss_dir_init(&d, k, salt)) < 0)
        return r;
    memcpy(out, salt, salt_len);
    r = ss_seal(&d, (struct iovec[]){ { head, head_len }, { (void *)buf, len } }, 2, out + salt_len);
    ss_dir_fini(&d);
    return r < 0 ? r : (ssize_t)(salt_len + head_len + len + SS_TAG);
}

static int open_body(const struct ss_key *k, const uint8_t *salt, const struct span *sealed, uint8_t *out)
{
    struct ss_dir d = { 0 };
    int r;

    if ((r = ss_dir_init(&d, k, salt)) < 0)
        return r;
    r = ss_open(&d, sealed->p, sealed->len - SS_TAG, &(struct iovec){ out, sealed->len - SS_TAG }, 1);
    ss_dir_fini(&d);
    return r;
}

int ss_udp_open(const struct ss_key *k, const uint8_t *buf, size_t len, uint8_t *out, struct sender *from, struct span *payload)
{
    struct rd r = rd_from(buf, len);
    struct span salt = rd_span(&r, k->len), sealed = rd_span(&r, rd_left(&r));
    int err;

    if (!rd_ok(&r) || sealed.len < SS_TAG)
        return -ERR_PROTO;
    if ((err = open_body(k, salt.p, &sealed, out)) < 0)
        return err;
    r = rd_from(out, sealed.len - SS_TAG);
    sender_get(&r, from);
    if (!rd_ok(&r))
        return -ERR_PROTO;
    *payload = rd_span(&r, rd_left(&r));
    return 0;
}
