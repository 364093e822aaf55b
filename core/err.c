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
    [ERR_LIMIT - ERR_BASE] = "a limit is reached",
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
