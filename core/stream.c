/*
 * stream.c - arithmetic on arrays of pieces: skip, count, copy. Pieces may be empty. No memory of its own.
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
