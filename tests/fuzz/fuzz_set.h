/* fuzz_set.h - a visitor that reads every byte it is given, so that the sanitizer sees them, and checks what set.h promises of them */
#ifndef FUZZ_FUZZ_SET_H
#define FUZZ_FUZZ_SET_H

#include <stdlib.h>

#include "rules/set.h"

static volatile uint8_t fuzz_sum;

static inline int fuzz_text(void *arg, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        fuzz_sum += (uint8_t)s[i];
    return 0;
}

static inline int fuzz_domain(void *arg, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] >= 'A' && s[i] <= 'Z')
            abort();
    if (!len || s[len - 1] == '.')
        abort();
    return fuzz_text(arg, s, len);
}

static inline int fuzz_prefix(void *arg, const struct cidr *c)
{
    struct cidr whole = *c;

    if (c->len > addr_len(&c->ip) * 8)
        abort();
    for (size_t bit = c->len; bit < addr_len(&c->ip) * 8; bit++) /* host bits are clear */
        if (whole.ip.b[bit / 8] & 0x80 >> bit % 8)
            abort();
    return 0;
}

static inline int fuzz_rule(void *arg, const char *s, size_t len, uint32_t line)
{
    return fuzz_text(arg, s, len);
}

static const struct set_visitor fuzz_visitor = { NULL, fuzz_domain, fuzz_text, fuzz_text, fuzz_prefix, fuzz_rule };

#endif
