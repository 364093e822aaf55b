/*
 * said.h - what a server said about a provider's content, and where it is kept
 *
 * Headers of the answer (RFC 9110: ETag, Last-Modified; Subscription-Userinfo as services send it), and beside the stored file a small JSON
 * object with the same, for the next start. Pure: bytes in, texts out; nothing but printable ASCII is taken.
 */
#ifndef ENGINE_SAID_H
#define ENGINE_SAID_H

#include <stddef.h>
#include <stdint.h>

#define SAID_MAX 512

struct said {
    char etag[SAID_MAX], modified[SAID_MAX], userinfo[SAID_MAX]; /* "" = not said */
};

/* One line of an answer's head, with or without its end. A status line begins another answer: what was said before is forgotten. */
void said_header(struct said *s, const char *line, size_t len);

/* As JSON; malloc'ed, NULL without memory. url: whose content it is about. */
char *said_write(const struct said *s, const char *url);
/* Reads that. What is not such an object, or about another url, says nothing. s is zeroed first. */
void said_read(struct said *s, const char *bytes, size_t len, const char *url);

/* The account of a subscription: "upload=N; download=N; total=N; expire=UNIX", any of them, in any order. Bytes and seconds; 0 = not said. */
struct said_account { int64_t upload, download, total, expire; };
void said_account(const char *userinfo, struct said_account *a);

#endif
