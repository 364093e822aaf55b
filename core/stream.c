/*
 * stream.c - arithmetic on arrays of pieces: skip, count, copy, use up. Pieces may be empty. No memory of its own.
 */
#include "core/stream.h"

#include <string.h>

int iov_skip(struct iovec **iov, int cnt, size_t n)
{
    while (cnt && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        (*iov)++;
        cnt--;
    }
    if (cnt && n) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
    return cnt;
}

size_t iov_total(const struct iovec *iov, int cnt)
{
    size_t n = 0;

    for (int i = 0; i < cnt; i++)
        n += iov[i].iov_len;
    return n;
}

size_t iov_copy(const struct iovec *dst, int nd, const struct iovec *src, int ns)
{
    size_t done = 0, doff = 0, soff = 0;

    for (int d = 0, s = 0; d < nd && s < ns;) {
        size_t room = dst[d].iov_len - doff, have = src[s].iov_len - soff, n = room < have ? room : have;

        if (n)
            memcpy((char *)dst[d].iov_base + doff, (const char *)src[s].iov_base + soff, n);
        done += n;
        doff += n;
        soff += n;
        if (doff == dst[d].iov_len)
            d++, doff = 0;
        if (soff == src[s].iov_len)
            s++, soff = 0;
    }
    return done;
}

struct cursor cursor_from(const struct iovec *iov, int n)
{
    return (struct cursor){ iov, 0, iov_total(iov, n) };
}

int cursor_pieces(const struct cursor *c, size_t max, struct iovec *out, int n, size_t *len)
{
    const struct iovec *at = c->iov;
    size_t off = c->off;
    int i = 0;

    if (max > c->left)
        max = c->left;
    for (*len = 0; i < n && *len < max; at++, off = 0) {
        size_t here = at->iov_len - off, m = here < max - *len ? here : max - *len;

        if (m)
            out[i++] = (struct iovec){ (char *)at->iov_base + off, m };
        *len += m;
    }
    return i;
}

void cursor_skip(struct cursor *c, size_t n)
{
    c->left -= n;
    for (n += c->off; c->left && n >= c->iov->iov_len; c->iov++)
        n -= c->iov->iov_len;
    c->off = n;
}

size_t cursor_take(struct cursor *c, void *out, size_t n)
{
    struct iovec piece;
    size_t done = 0, m;

    while (done < n && cursor_pieces(c, n - done, &piece, 1, &m)) {
        memcpy((char *)out + done, piece.iov_base, m);
        cursor_skip(c, m);
        done += m;
    }
    return done;
}

size_t cursor_give(struct cursor *c, const void *in, size_t n)
{
    struct iovec piece;
    size_t done = 0, m;

    while (done < n && cursor_pieces(c, n - done, &piece, 1, &m)) {
        memcpy(piece.iov_base, (const char *)in + done, m);
        cursor_skip(c, m);
        done += m;
    }
    return done;
}
