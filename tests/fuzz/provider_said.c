/* provider_said.c - what servers say about content: lines of an answer's head, the file kept beside the content, an account; the first byte chooses */
#include <stdlib.h>
#include <string.h>

#include "engine/said.h"
#include "tests/fuzz/fuzz.h"

/* It is sent in a request one day. */
static void check(const char text[SAID_MAX])
{
    for (size_t i = 0; text[i]; i++)
        if (text[i] < ' ' || text[i] > '~' || i + 1 == SAID_MAX)
            abort();
}

static void check_all(const struct said *s)
{
    struct said_account a;

    check(s->etag);
    check(s->modified);
    check(s->userinfo);
    said_account(s->userinfo, &a);
    if (a.upload < 0 || a.download < 0 || a.total < 0 || a.expire < 0)
        abort();
}

static void lines(struct said *s, const char *p, size_t len)
{
    while (len) {
        const char *end = memchr(p, '\n', len);
        size_t n = end ? (size_t)(end - p) + 1 : len;

        said_header(s, p, n);
        p += n;
        len -= n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct said s = { 0 }, again;
    const char *bytes = (const char *)data + 1;
    char *text;

    if (!size)
        return 0;
    if (data[0] & 0x40)
        lines(&s, bytes, size - 1);
    else
        said_read(&s, bytes, size - 1, "u");
    check_all(&s);
    if (!(text = said_write(&s, "u")))
        return 0;
    said_read(&again, text, strlen(text), "u");
    if (strcmp(s.etag, again.etag) != 0 || strcmp(s.modified, again.modified) != 0 || strcmp(s.userinfo, again.userinfo) != 0)
        abort();
    free(text);
    return 0;
}
