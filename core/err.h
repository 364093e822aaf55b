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
    ERR_CIRCLE,         /* what it waits for waits for it */
    ERR_LIMIT,          /* one of our own bounds is reached */
    ERR_EARLY,          /* the peer hung up before its first word */
    ERR_SILENT,         /* the peer took the connection and then said nothing */
    ERR_UNANSWERED,     /* the peer took what we sent and never answered */
    ERR_STATUS,         /* an HTTP answer that means no */
    ERR_CLOCK,          /* the peer's clock and ours differ by more than its protocol allows */
    ERR_TLS,            /* TLS: the handshake failed, or the connection broke; the log says how */
    ERR_TLS_PLAIN,      /* TLS: the peer does not speak it */
    ERR_TLS_NAME,       /* TLS: the peer does not know the name we asked for (SNI) */
    ERR_TLS_VERSION,    /* TLS: no common version or cipher */
    ERR_TLS_CLIENT,     /* TLS: the peer wants a client certificate, or another one */
    ERR_TLS_ALPN,       /* TLS: no common application protocol */
    ERR_CERT,           /* certificate: refused for another reason than those below */
    ERR_CERT_NAME,      /* certificate: made for another name */
    ERR_CERT_EXPIRED,   /* certificate: its time is over */
    ERR_CERT_EARLY,     /* certificate: its time has not begun */
    ERR_CERT_SELF,      /* certificate: signed by itself */
    ERR_CERT_ISSUER,    /* certificate: signed by nobody known here */
    ERR_CERT_PURPOSE,   /* certificate: not made for a server */
    ERR_CERT_PIN,       /* certificate: not the one that the profile pins */
    ERR_MAX
};

#define STREAM_EOF ERR_EOF

/* Words for a negative or positive code, static text. Never NULL. */
const char *err_str(int code);

#endif
