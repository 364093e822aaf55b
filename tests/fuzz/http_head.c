/* http_head.c - an HTTP/1 response head and its headers */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "transport/transport.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = { "", "a", "Connection", "Content-Length" };
    struct http_head h;
    struct span v;

    if (http_head_parse(data, size, &h) <= 0)
        return 0;
    if (h.text.len > size || h.status < 0 || h.status > 999)
        __builtin_trap();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (http_head_find(&h, names[i], &v)) {
            if (v.p < data || v.p + v.len > data + h.text.len)
                __builtin_trap();
            http_has_word(&v, "close");
        }
    return 0;
}
