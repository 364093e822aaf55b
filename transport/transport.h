/*
 * transport.h - streams on top of streams: TLS, WebSocket, HTTP disguises, HTTP/2, gRPC
 *
 * Every transport takes a connected stream over and gives one back. One that must talk first (a handshake) is on hold (core/layer.h): its
 * owner sets on_ready and waits for WRITABLE (open) or FAILED (any later call says why). Nobody limits how long that takes but the owner;
 * what goes on when he has his stream already has a limit of its own.
 */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/loop.h"
#include "core/reader.h"
#include "core/stream.h"

#define TR_WHY 160 /* room for a reason in words, with its NUL */

/* ---- TLS, client side (RFC 8446, RFC 5246; versions 1.2 and 1.3) ---- */

/* What one kind of connection is to be like. Read by tls_client_new() only. */
struct tls_config {
    const char
        *name; /* to be asked for (SNI, unless it is an address) and to be found in the certificate; NULL only with skip_verify or pin */
    const char *const *alpn; /* offered in this order */
    unsigned n_alpn;         /* 0: the extension is absent */
    bool must_alpn;          /* the server must choose one of them */
    bool skip_verify;        /* any certificate will do */
    const uint8_t *pin; /* NULL, or SHA-256 (32 bytes) of a certificate. The server's own: nothing else is checked, not even skip_verify.
                         * Of an issuer in the chain it sends: chain and name are checked up to that one. */
    const char *cert, *key;  /* client certificate: PEM text, or path of a file that the caller allows; key NULL: in cert, too */
    struct tls_roots *roots; /* trusted; NULL: the system's */
};

/* A set of trusted roots: the system's and those in n PEM texts or files. 0 or -EINVAL, -ENOMEM with why in words. */
struct tls_roots;
int tls_roots_new(const char *const *pem, unsigned n, struct tls_roots **out, char why[TR_WHY]);
void tls_roots_free(struct tls_roots *r); /* clients that have it keep it */

/* What connections to one server share: the settings, and the newest session to resume. Streams keep it alive by themselves. 0 or -EINVAL,
 * -ENOMEM with why in words. */
struct tls_client;
int tls_client_new(const struct tls_config *c, struct tls_client **out, char why[TR_WHY]);
void tls_client_free(struct tls_client *c);

/* Begins TLS on a connected stream; takes it over on success. *up is on hold until the handshake is done. 0 or -ENOMEM.
 *
 * Fails with -ERR_TLS* or -ERR_CERT*; -ERR_AUTH: a record was tampered with; -ERR_EARLY: the server hung up without a word. EOF is
 * close_notify, or the end of the stream below between two records (many servers do no better); inside a record that is -ERR_PROTO.
 * shutdown sends close_notify and leaves the stream below open, which TLS 1.3 peers take for a half-close. */
int tls_start(struct tls_client *c, struct loop *l, struct stream *down, struct stream **up);

/* Facts of an open TLS stream; texts are static or live as long as it does. */
struct tls_info {
    const char *version, *cipher;
    char alpn[16]; /* chosen by the server; "" if it did not, cut to fit */
    bool resumed, verified;
};
void tls_info(const struct stream *s, struct tls_info *out);

/* Since the program began. */
struct tls_stats {
    uint64_t n_done, n_failed, n_resumed;
    uint64_t n_unverified; /* full handshakes whose certificate nobody looked at (skip_verify) */
};
const struct tls_stats *tls_stats(void);

/* ---- HTTP/1 heads, as servers write them (RFC 9112; bare LF and missing reasons are tolerated) ---- */

#define HTTP_HEAD_MAX 65536

struct http_head {
    int status;
    struct span text; /* all of it, from "HTTP/" to the blank line; lent */
};
/* Looks at what came so far. 1: it begins with a whole head, text.len bytes long; 0: more must come; -ERR_PROTO: it is no HTTP/1 answer, or
 * longer than HTTP_HEAD_MAX. */
int http_head_parse(const void *b, size_t n, struct http_head *out);
/* The value of the first header of that name (letter case ignored), without blanks around it; false when there is none. */
bool http_head_find(const struct http_head *h, const char *name, struct span *value);
/* Is `word` (letter case ignored) among the comma-separated words of a value? */
bool http_has_word(const struct span *value, const char *word);

/* What an answer that means no says, for people: "status 404: Not Found Server: x", the first 100 bytes behind the number, made safe. Returns buf. */
#define HTTP_SAID 448
const char *http_said(const struct http_head *h, char buf[HTTP_SAID]);

/* Who wants to know what a server said when it said no; before the stream fails with -ERR_STATUS. Outlives the stream; NULL: nobody. */
struct http_ear {
    void (*refused)(struct http_ear *e, const char *said);
};

/* A disguise: our bytes begin with an HTTP head, and so must the server's; all that follows goes through unchanged. `head` is copied: a
 * request line and headers, each with its CRLF, without the blank line. with_length adds a Content-Length that says how long the first
 * bytes are. Takes down over. 0 or -ENOMEM. Fails with -ERR_STATUS when the server's status is 400 or more: any other is a disguise, too. */
int http_cloak_start(const char *head, bool with_length, struct http_ear *ear, struct loop *l, struct stream *down, struct stream **up);

/* ---- WebSocket (RFC 6455), and the HTTP upgrade that borrows its handshake ---- */

struct http_field {
    const char *name, *value;
};

struct ws_config {
    const char *host, *path;         /* of the request */
    const struct http_field *fields; /* more headers */
    unsigned n_fields;
    size_t early_max;         /* so many of the first bytes ride in the request, base64url; 0: none */
    const char *early_header; /* in this header; NULL: at the end of the path */
    bool upgrade;             /* after the 101 bytes are raw, not in frames */
    bool fast;                /* upgrade only: the first bytes follow the request at once */
    struct http_ear *ear;
};

/* Takes down over; c is not needed afterwards. *up is on hold until the server agreed; with early_max or fast it is open at once, because
 * the request waits for the first bytes (or a flush). 0: on hold; 1: open; -ENOMEM.
 *
 * Fails with -ERR_STATUS when the server's answer is not 101, -ERR_PROTO, -ERR_EARLY; -ERR_SILENT: no answer 10 s after the request.
 * WebSocket has no half-close: shutdown only ends writing, close says goodbye. An upgrade passes shutdown on. */
int ws_start(const struct ws_config *c, struct loop *l, struct stream *down, struct stream **up);

/* ---- HTTP/2, client side (RFC 9113): many streams over one connection ---- */

struct h2_request {
    const char *method, *scheme, *authority, *path;
    const struct http_field *fields; /* names in lower case */
    unsigned n_fields;
    struct http_ear *ear;
};

/* A connection over a stream (TLS with "h2" chosen), which it takes over. ping_s: a PING after so much silence, and the end when nobody
 * answers it; 0: none of its own. Whatever ping_s: one that is written on after 5 s of silence is asked, and has 5 s to say anything at all, or
 * it fails with -ETIMEDOUT. The caller has a reference. NULL without memory. */
struct h2_conn;
struct h2_conn *h2_conn_new(struct loop *l, struct stream *down, unsigned ping_s);
/* Drops the caller's reference: the connection ends with its last stream, at once when there is none. */
void h2_conn_put(struct h2_conn *c);
/* May streams be opened? False once it has failed or the server said GOAWAY. */
bool h2_conn_usable(const struct h2_conn *c);
/* Streams open now, and how many the server allows. */
unsigned h2_conn_streams(const struct h2_conn *c);
unsigned h2_conn_room(const struct h2_conn *c);

/* A request whose body is what is written and whose answer's body is what is read; open at once, the request goes with the first bytes or a
 * flush. Another status than 200 is -ERR_STATUS, a reset -ECONNRESET (-ECONNREFUSED when the server did not begin), grpc-status other than
 * 0 -ERR_STATUS. shutdown ends the body. 0, -ENOMEM, or -ERR_CLOSED when the connection is not usable. */
int h2_open(struct h2_conn *c, const struct h2_request *q, struct stream **up);

/* Messages with one field of bytes, as "gun" has them, on an HTTP/2 stream, which it takes over. The stream is never half-closed: servers
 * take that for the end. 0 or -ENOMEM. */
int grpc_start(struct loop *l, struct stream *down, struct stream **up);

/* Gives shared memory back; at exit, and for leak checks. */
void transport_trim(void);

#endif
