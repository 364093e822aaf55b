/*
 * hex.h - bytes as published vectors print them
 */
#ifndef UNIT_HEX_H
#define UNIT_HEX_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Two digits a byte; ends at what is no digit. How many bytes. */
static inline size_t unhex(const char *s, uint8_t *out)
{
    size_t n = 0;

    for (unsigned v; sscanf(s, "%2x", &v) == 1; s += 2)
        out[n++] = (uint8_t)v;
    return n;
}

#endif
