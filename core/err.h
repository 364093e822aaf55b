/*
 * err.h - error codes beside errno, and words for all of them
 *
 * Functions return 0 (or a count) or a negative code: -errno, or one of these. They start above any errno.
 */
#ifndef CORE_ERR_H
#define CORE_ERR_H

enum {
    ERR_BASE = 4096,
    ERR_EOF = ERR_BASE, /* the stream ended in order; as -STREAM_EOF */
    ERR_PROTO,          /* the peer spoke against its protocol */
    ERR_AUTH,           /* the peer refused our credentials, or its bytes did not authenticate */
    ERR_RULE,           /* a rule rejected the flow */
    ERR_DROP,           /* a rule dropped the flow: answer nothing */
    ERR_NAME,           /* the name does not resolve */
    ERR_UNSUPPORTED,    /* this outbound or build cannot do that */
    ERR_CLOSED,         /* closed from our side (shutdown, kill, reload) */
    ERR_LIMIT,          /* one of our own bounds is reached */
    ERR_MAX
};

#define STREAM_EOF ERR_EOF

/* Words for a negative or positive code, static text. Never NULL. */
const char *err_str(int code);

#endif
