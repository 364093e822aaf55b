/*
 * base64.c - base64 as strangers write it
 *
 * One pass, six bits at a time. The bits that a last character carries beyond its byte are not looked at: encoders disagree about them.
 */
#include "core/base64.h"

#include <ctype.h>
#include <errno.h>

static int value(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

ssize_t base64_decode(const char *s, size_t len, uint8_t *out, size_t size)
{
    size_t n = 0, chars = 0, pads = 0;
    uint32_t bits = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        int v = value(c);

        if (isspace(c))
            continue;
        if (c == '=' && chars % 4 >= 2 && pads < 4 - chars % 4) {
            pads++;
            continue;
        }
        if (v < 0 || pads)
            return -EINVAL;
        bits = bits << 6 | (uint32_t)v;
        if (chars++ % 4 == 0)
            continue;
        if (n == size)
            return -EMSGSIZE;
        out[n++] = (uint8_t)(bits >> (6 - 2 * ((chars - 1) % 4)));
    }
    return chars % 4 == 1 ? -EINVAL : (ssize_t)n;
}
