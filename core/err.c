/*
 * err.c - words for error codes: a table for ours, the C library's for errno. Static text, no memory.
 */
#include "core/err.h"

#include <string.h>

static const char *const words[ERR_MAX - ERR_BASE] = {
    [ERR_EOF - ERR_BASE] = "end of stream",
    [ERR_PROTO - ERR_BASE] = "the peer broke its protocol",
    [ERR_AUTH - ERR_BASE] = "authentication failed",
    [ERR_RULE - ERR_BASE] = "rejected by a rule",
    [ERR_DROP - ERR_BASE] = "dropped by a rule",
    [ERR_NAME - ERR_BASE] = "the name does not resolve",
    [ERR_UNSUPPORTED - ERR_BASE] = "not supported",
    [ERR_CLOSED - ERR_BASE] = "closed by shunt",
    [ERR_CIRCLE - ERR_BASE] = "a circle: it would have to wait for itself",
    [ERR_LIMIT - ERR_BASE] = "a limit is reached",
    [ERR_EARLY - ERR_BASE] = "the server hung up before its first word",
    [ERR_SILENT - ERR_BASE] = "the server takes connections and says nothing",
    [ERR_UNANSWERED - ERR_BASE] = "sent data, never got an answer",
    [ERR_STATUS - ERR_BASE] = "the server's HTTP answer means no",
    [ERR_CLOCK - ERR_BASE] = "the server's clock and this machine's differ too much",
    [ERR_TLS - ERR_BASE] = "the TLS handshake failed",
    [ERR_TLS_PLAIN - ERR_BASE] = "the server does not speak TLS",
    [ERR_TLS_NAME - ERR_BASE] = "the server does not know the name asked for (SNI)",
    [ERR_TLS_VERSION - ERR_BASE] = "no TLS version or cipher in common with the server",
    [ERR_TLS_CLIENT - ERR_BASE] = "the server wants a client certificate, or another one",
    [ERR_TLS_ALPN - ERR_BASE] = "the server does not speak the protocol asked for (ALPN)",
    [ERR_CERT - ERR_BASE] = "the server's certificate is refused",
    [ERR_CERT_NAME - ERR_BASE] = "the server's certificate is made for another name",
    [ERR_CERT_EXPIRED - ERR_BASE] = "the server's certificate has expired, or this machine's clock is ahead",
    [ERR_CERT_EARLY - ERR_BASE] = "the server's certificate is not valid yet: this machine's clock may be behind",
    [ERR_CERT_SELF - ERR_BASE] = "the server's certificate is signed by itself",
    [ERR_CERT_ISSUER - ERR_BASE] = "the server's certificate is signed by nobody known here",
    [ERR_CERT_PURPOSE - ERR_BASE] = "the server's certificate is not made for a server",
    [ERR_CERT_PIN - ERR_BASE] = "the server's certificate is not the one that the profile pins",
};

const char *err_str(int code)
{
    unsigned n = code < 0 ? 0u - (unsigned)code : (unsigned)code;

    if (n >= ERR_BASE && n < ERR_MAX)
        return words[n - ERR_BASE];
    if (n >= ERR_MAX)
        return "unknown error";
    return n ? strerror((int)n) : "no error";
}
